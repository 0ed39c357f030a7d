package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// shownFacts are the kinds of facts that are series unless a configuration says otherwise: few, and worth being compared with others.
var shownFacts = []string{"kernel", "release", "lsm", "flaw", "reboot", "update", "sysctl", "disk", "clock", "ntp", "auditd", "kaudit", "sshd"}

// maxShownFacts bounds the facts that are kept for PromQL.
const maxShownFacts = 1000

// validateFacts refuses kinds that there are not.
func validateFacts(kinds []string) error {
	for _, name := range kinds {
		if factKind(name) == nil {
			return fmt.Errorf("posture: facts: there are no facts of kind %s", name)
		}
	}
	return nil
}

// A factKeeper keeps facts of some kinds.
type factKeeper struct {
	byKind map[*event.FactKind][]event.Fact // which it keeps are keys from the beginning
	kept   int
	more   int // that were too many
}

func newFactKeeper(kinds []string, wanted func(*event.FactKind) bool) *factKeeper {
	k := &factKeeper{byKind: map[*event.FactKind][]event.Fact{}}
	for _, name := range kinds {
		if kind := factKind(name); kind != nil && wanted(kind) {
			k.byKind[kind] = nil
		}
	}
	return k
}

func (k *factKeeper) wants(kind *event.FactKind) bool {
	_, wanted := k.byKind[kind]
	return wanted
}

func (k *factKeeper) keep(f *event.Fact) {
	switch {
	case !k.wants(f.Kind) || f.Err() != "":
	case k.kept == maxShownFacts:
		k.more++
	default:
		k.kept++
		k.byKind[f.Kind] = append(k.byKind[f.Kind], *f)
	}
}

// join takes the kinds that another one has not looked for, and makes of all of them a list in the order of kinds, subjects and sources.
func (k *factKeeper) join(before *factKeeper) (all []event.Fact, more int) {
	if before != nil {
		for kind, facts := range before.byKind {
			if !k.wants(kind) {
				k.byKind[kind] = facts
			}
		}
	}
	for _, kind := range event.FactKinds() {
		facts := k.byKind[kind]
		slices.SortStableFunc(facts, func(a, b event.Fact) int {
			return cmp.Or(strings.Compare(a.Subject, b.Subject), strings.Compare(a.Source, b.Source))
		})
		all = append(all, facts...)
	}
	if len(all) > maxShownFacts {
		more, all = len(all)-maxShownFacts, all[:maxShownFacts]
	}
	return all, k.more + more
}
