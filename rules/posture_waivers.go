package rules

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// A Waiver accepts that objects fail a check, for a reason, until a day.
type Waiver struct {
	Check   string  `yaml:"check"`   // * and ? are wild cards
	Objects Objects `yaml:"objects"` // subjects, in which * and ? are wild cards; or all
	Reason  string  `yaml:"reason"`
	Owner   string  `yaml:"owner"`
	Until   string  `yaml:"until"` // 2027-03-31: the last day, in UTC
}

// Objects are patterns of subjects, or the word all.
type Objects []string

// UnmarshalYAML reads a list, or one word.
func (o *Objects) UnmarshalYAML(read func(any) error) error {
	var one string
	if read(&one) == nil {
		*o = Objects{one}
		return nil
	}
	return read((*[]string)(o))
}

func (o Objects) all() bool { return slices.Equal(o, Objects{"all"}) }

// end is when the waiver begins to hold no more.
func (w *Waiver) end() (time.Time, error) {
	day, err := time.Parse(time.DateOnly, w.Until)
	if err != nil {
		return day, fmt.Errorf("until: %q: want the last day, such as 2027-03-31", w.Until)
	}
	return day.AddDate(0, 0, 1), nil
}

func (w *Waiver) validate() error {
	if _, err := w.end(); err != nil {
		return err
	}
	switch {
	case w.Check == "":
		return errors.New("check: want the id of a check")
	case len(w.Objects) == 0 || slices.Contains(w.Objects, ""):
		return errors.New("objects: want what is waived, or all")
	case w.Reason == "":
		return errors.New("reason: want why it is accepted")
	case w.Owner == "":
		return errors.New("owner: want who has accepted it")
	}
	return nil
}

// A waiver is one while facts are told.
type waiver struct {
	event.Waiver
	objects Objects
}

func newWaiver(w *Waiver, now time.Time) *waiver {
	end, err := w.end()
	return &waiver{event.Waiver{Check: w.Check, Reason: w.Reason, Owner: w.Owner, Until: end, Expired: err != nil || !now.Before(end)}, w.Objects}
}

func (w *waiver) has(subject string) bool {
	return w.objects.all() || slices.ContainsFunc(w.objects, func(pattern string) bool { return wildcard(pattern, subject) })
}

// Waivers are those of the evaluation.
func (e *Evaluation) Waivers() []event.Waiver {
	all := make([]event.Waiver, len(e.waivers))
	for i, w := range e.waivers {
		all[i] = w.Waiver
	}
	return all
}
