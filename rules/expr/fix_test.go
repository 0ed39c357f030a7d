package expr

import "testing"

func TestFixLeavesOutWhatIsKnown(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, open, close string }{
		{"evt.type = open", "true", "false"},
		{"evt.type = open and proc.name = a", "proc.name = a", "false"},
		{"not evt.type = open or proc.name = a", "proc.name = a", "true"},
		{"evt.type in (open, openat) and (proc.name = a or evt.type != open)", "proc.name = a", "false"},
		{"evt.type != open", "false", "true"},
		{"evt.type = allof (open, open)", "evt.type = allof (open, open)", "evt.type = allof (open, open)"},
		{"evt.type startswith op and proc.name = a", "(evt.type startswith op and proc.name = a)", "(evt.type startswith op and proc.name = a)"},
		{"evt.num = 0 or proc.name = a", "proc.name = a", "proc.name = a"},
		{"evt.num > 0 and proc.name = a", "proc.name = a", "proc.name = a"},
		{"evt.type exists", "true", "true"},
		{"not (evt.type = open and not proc.name = a)", "not not proc.name = a", "true"},
	} {
		n, err := Parse(test.text)
		if err != nil {
			t.Fatal(err)
		}
		for value, want := range map[string]string{"open": test.open, "close": test.close} {
			if got := shownTruth(Fix(n, "evt.type", value)); got != want {
				t.Errorf("Fix(%q) for %s = %s, want %s", test.text, value, got, want)
			}
		}
	}
}

func shownTruth(n Node, truth Truth) string {
	switch truth {
	case Always:
		return "true"
	case Never:
		return "false"
	}
	return Print(n)
}
