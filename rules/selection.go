package rules

// selected says whether a rule is on, after a selection in its order. What nothing selects stays as the files have it.
func selected(r *Rule, selection []Select) bool {
	on := r.Enabled
	for _, s := range selection {
		switch {
		case s.Enable != nil && s.Enable.matches(r):
			on = true
		case s.Disable != nil && s.Disable.matches(r):
			on = false
		}
	}
	return on
}
