package bpf

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/yagura-io/yagura/rules/event"
)

// Bits of call_recipe.keys: enum call_keys.
const (
	keyPrefix = 1 << iota
	keyName
)

// Names of the maps that hold an Interest.
const (
	mapRecipes  = "call_recipes"
	mapPrefixes = "path_prefixes"
	mapNames    = "path_names"
	mapSwitches = ".data.calls"
)

// SetInterest loads what rules can match into the kernel, and attaches what is needed for it or detaches what is not any
// more. Call it at the start and whenever rules change, before or after Replan. An event that both the old and the new
// rules want is not missed between; one that only the new ones want is reported once this has returned.
func (a *Agent) SetInterest(i event.Interest) error {
	if a.off() {
		return nil
	}
	a.planning.Lock()
	defer a.planning.Unlock()
	p := planCalls(i)
	if err := a.loadCalls(p); err != nil {
		return fmt.Errorf("load what rules ask for: %w", err)
	}
	if calls := p.wants(); calls != a.calls {
		a.calls = calls
		a.replan(a.want)
	}
	return nil
}

// loadCalls goes first by recipes that any path satisfies, while the paths change, and then by the right ones.
func (a *Agent) loadCalls(p *callPlan) error {
	if err := errors.Join(a.missing[mapRecipes], a.missing[mapPrefixes], a.missing[mapNames], a.missing[mapSwitches]); err != nil {
		return err
	}
	open := p.recipes
	for nr := range open {
		open[nr].Anywhere = open[nr].Wanted
	}
	if err := a.exchangeRecipes(&open); err != nil {
		return err
	}
	if err := refill(a.maps[mapPrefixes], p.prefixes); err != nil {
		return fmt.Errorf("path prefixes: %w", err)
	}
	if err := refill(a.maps[mapNames], p.names); err != nil {
		return fmt.Errorf("path names: %w", err)
	}
	if err := a.exchangeRecipes(&p.recipes); err != nil {
		return err
	}
	if err := a.maps[mapSwitches].Put(uint32(0), &p.switches); err != nil {
		return fmt.Errorf("switches: %w", err)
	}
	return nil
}

// exchangeRecipes puts a new map of recipes in the place of the old one. The kernel comes back from that once no program
// runs any more that could have the old one.
func (a *Agent) exchangeRecipes(recipes *[syscallSlots]yaguraCallRecipe) error {
	m, err := ebpf.NewMap(a.spec.Maps[mapRecipes].InnerMap)
	if err != nil {
		return fmt.Errorf("make a map of recipes: %w", err)
	}
	defer m.Close() // the outer map holds it
	for nr, r := range recipes {
		if r.Wanted == 0 {
			continue
		}
		if err := m.Put(uint32(nr), &r); err != nil {
			return fmt.Errorf("recipe of %s: %w", syscallNames[nr], err)
		}
	}
	if err := a.maps[mapRecipes].Put(uint32(0), m); err != nil {
		return fmt.Errorf("exchange recipes: %w", err)
	}
	return nil
}

// refill makes a map hold exactly what it should. A walk over a trie may begin anew when a key is deleted, and before 5.11
// a trie's first key may come twice: so what has to go is only noted during the walk, and may be gone already.
func refill[K comparable](m *ebpf.Map, want map[K]uint32) error {
	old := map[K]bool{}
	var key K
	var terms uint32
	it := m.Iterate()
	for it.Next(&key, &terms) {
		if _, stays := want[key]; !stays {
			old[key] = true
		}
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("walk over %d keys: %w", len(old), err)
	}
	for key := range old { // first, so that there is room
		if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete a key: %w", err)
		}
	}
	for key, terms := range want {
		if err := m.Put(key, terms); err != nil {
			return fmt.Errorf("put a key: %w", err)
		}
	}
	return nil
}

// callPlan is an Interest as the kernel's maps hold it.
type callPlan struct {
	recipes  [syscallSlots]yaguraCallRecipe
	prefixes map[yaguraPathPrefix]uint32
	names    map[yaguraPathName]uint32
	switches yaguraCallSwitches
}

// maxPathKeys is how many keys the maps of paths hold: path_prefixes and path_names.
const maxPathKeys = 8192

// planCalls makes the plan. If there are more paths than the kernel has room for, it looks at none.
func planCalls(i event.Interest) *callPlan {
	p := planWith(i, true)
	if len(p.prefixes) > maxPathKeys || len(p.names) > maxPathKeys {
		p = planWith(i, false)
	}
	return p
}

func planWith(i event.Interest, paths bool) *callPlan {
	p := &callPlan{prefixes: map[yaguraPathPrefix]uint32{}, names: map[yaguraPathName]uint32{}}
	if i.Env {
		p.switches.Env = 1
	}
	kept := map[string]event.Type{} // paths of each type, and under which they are kept
	for nr, t := range callTypes {
		r := recipe(t)
		terms := slices.Clone(limitTerms(i.Terms[t]))
		for bit := range terms {
			if !paths || !knowsPaths(&r, terms[bit]) {
				terms[bit].Paths = nil
			}
			r.allow(terms[bit], 1<<bit)
			r.Keys |= keysOf(terms[bit].Paths)
		}
		same := pathsText(terms)
		first, ok := kept[same]
		if !ok {
			first, kept[same] = t, t
			for bit := range terms {
				p.addPaths(t, terms[bit].Paths, 1<<bit)
			}
		}
		r.Paths = uint16(first)
		r.leaveProcesses(t)
		if i.Entry[t] && (r.Text0 != fromNothing || r.Text1 != fromNothing) {
			r.Entry = 1
		}
		p.add(nr, r)
	}
	p.spread()
	return p
}

// pathsText is one text for terms that have the same paths.
func pathsText(terms []event.Term) string {
	var b strings.Builder
	for bit, t := range terms {
		if t.Paths == nil {
			continue
		}
		for kind, of := range [][]string{t.Paths.Exact, t.Paths.Prefixes, t.Paths.Names} {
			for _, path := range of {
				fmt.Fprintf(&b, "%d %d %s\x00", bit, kind, path)
			}
		}
	}
	return b.String()
}

// add keeps a recipe if anybody can want what it is for.
func (p *callPlan) add(nr int, r yaguraCallRecipe) {
	for sign, terms := range r.Results {
		if terms != 0 {
			p.switches.Results[nr] |= 1 << sign
		}
	}
	if p.switches.Results[nr] == 0 {
		return
	}
	p.recipes[nr] = r
	p.switches.Entry[nr] = r.Entry
}

// limitTerms gives up telling calls apart where there are too many ways to match.
func limitTerms(terms []event.Term) []event.Term {
	if len(terms) > event.MaxTerms {
		return []event.Term{event.AnyTerm}
	}
	return terms
}

// leaveProcesses leaves out what is an event of its own: a process that was made, has run another image, or has ended.
func (r *yaguraCallRecipe) leaveProcesses(t event.Type) {
	if forks[t] || execs[t] {
		r.Results[1], r.Results[2] = 0, 0
	}
}

func (r *yaguraCallRecipe) allow(t event.Term, bit uint32) {
	for i := range r.Results {
		if t.Results&(1<<i) != 0 {
			r.Results[i] |= bit
		}
	}
	for i := range r.Opens {
		if t.Opens&(1<<i) != 0 {
			r.Opens[i] |= bit
		}
	}
	for i := range r.Families {
		if t.Families&(1<<i) != 0 {
			r.Families[i] |= bit
		}
	}
	if t.Paths == nil {
		r.Anywhere |= bit
	}
	if t.Resolved {
		r.Resolved |= bit
	}
	r.Wanted |= bit
}

func keysOf(set *event.PathSet) (keys uint8) {
	if set == nil {
		return 0
	}
	if len(set.Prefixes)+len(set.Exact) > 0 {
		keys |= keyPrefix
	}
	if len(set.Names) > 0 {
		keys |= keyName
	}
	return keys
}

// addPaths notes a term's paths. What is longer than a key is cut, which only lets more pass.
func (p *callPlan) addPaths(t event.Type, set *event.PathSet, bit uint32) {
	if set == nil {
		return
	}
	for _, path := range set.Prefixes {
		p.prefixes[prefixKey(t, path)] |= bit
	}
	for _, path := range set.Exact {
		p.prefixes[prefixKey(t, path+"\x00")] |= bit
	}
	for _, name := range set.Names {
		key := yaguraPathName{Type: uint16(t)}
		copyChars(key.Name[:], name[max(len(name)-len(key.Name), 0):]) // of a longer name than the key, its end
		p.names[key] |= bit
	}
}

func prefixKey(t event.Type, path string) yaguraPathPrefix {
	key := yaguraPathPrefix{Type: uint16(t)}
	n := copyChars(key.Path[:], path)
	key.Bits = uint32(32 + 8*n)
	return key
}

func copyChars(to []int8, from string) int {
	return copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(to))), len(to)), from)
}

// spread gives every prefix the terms of those that it begins with: the kernel finds the longest only.
func (p *callPlan) spread() {
	keys := make([]yaguraPathPrefix, 0, len(p.prefixes))
	for key := range p.prefixes {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b yaguraPathPrefix) int { return int(a.Bits) - int(b.Bits) })
	for _, long := range keys {
		for n := (long.Bits - 32) / 8; n > 0; n-- {
			short := yaguraPathPrefix{Type: long.Type, Bits: 32 + 8*(n-1)}
			copy(short.Path[:n-1], long.Path[:n-1])
			if terms, ok := p.prefixes[short]; ok {
				p.prefixes[long] |= terms // which has those of shorter ones already
				break
			}
		}
	}
}

// wanted is which hooks an Interest needs.
type wantedCalls struct{ any, entry, ring bool }

func (p *callPlan) wants() (w wantedCalls) {
	for nr, signs := range p.switches.Results {
		w.any = w.any || signs != 0
		w.entry = w.entry || p.switches.Entry[nr] != 0
	}
	for _, nr := range ringCalls() {
		w.ring = w.ring || p.switches.Results[nr] != 0
	}
	return w
}
