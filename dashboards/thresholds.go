package dashboards

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/alerts"
)

// Thresholds are from where on a value is bad: where alerts begin to fire, or where we say so.
type Thresholds struct {
	alerts []string
	below  bool
	steps  []step
}

type step struct {
	Color string   `json:"color"`
	Value *float64 `json:"value"` // from here on; nil for all below the first
}

// Above is for values that are bad when they are high: what those alerts compare with, in the color of their severity.
func Above(alerts ...string) Thresholds { return Thresholds{alerts: alerts} }

// Below is for values that are bad when they are low; also for alerts of what must not be 0.
func Below(alerts ...string) Thresholds { return Thresholds{alerts: alerts, below: true} }

// From is for values that no alert is about: low below the number, and high from there on.
func From(low string, value float64, high string) Thresholds {
	return Thresholds{steps: []step{{Color: low}, {Color: high, Value: &value}}}
}

const (
	good    = "green"
	neutral = "text"
	// nothing is what values above 0 are at least. Grafana's steps begin at their number, and an alert on `> 0` does not.
	nothing = 1e-9
)

var colors = map[string]string{"critical": "red", "warning": "orange", "info": "blue"}

// list is what Grafana is told. It panics for alerts that are not there, as a board is part of the program.
func (t Thresholds) list() []step {
	if len(t.alerts) == 0 {
		if len(t.steps) > 0 {
			return t.steps
		}
		return []step{{Color: neutral}}
	}
	sorted := slices.SortedFunc(slices.Values(t.alerts), func(a, b string) int { return cmp.Compare(alerts.Threshold(a), alerts.Threshold(b)) })
	list := []step{{Color: good}}
	for _, name := range sorted {
		a, _ := alerts.Find(name)
		value := cmp.Or(alerts.Threshold(name), nothing)
		if t.below {
			list[len(list)-1].Color = colors[a.Severity]
			list = append(list, step{Color: good, Value: &value})
			continue
		}
		list = append(list, step{Color: colors[a.Severity], Value: &value})
	}
	return list
}

func (t Thresholds) judges() bool { return len(t.alerts) > 0 || len(t.steps) > 0 }

// text names the alerts, as the end of a panel's description.
func (t Thresholds) text() string {
	if len(t.alerts) == 0 {
		return ""
	}
	var links []string
	for _, name := range t.alerts {
		a, _ := alerts.Find(name)
		links = append(links, fmt.Sprintf("[%s](%s)", name, a.Runbook))
	}
	return "\n\nColors are those of " + strings.Join(links, ", ") + "."
}
