package bpf

import (
	"fmt"
	"io"

	"github.com/cilium/ebpf/link"
)

// each calls yield with every entry of a map, which is nil where this kernel refuses it. Both are valid until yield returns.
func each[K, V any](a *Agent, name string, yield func(*K, *V)) error {
	m := a.maps[name]
	if m == nil {
		return nil
	}
	var key K
	var value V
	it := m.Iterate()
	for it.Next(&key, &value) {
		yield(&key, &value)
	}
	return it.Err()
}

// eachSum is each for a map that has a value for every CPU: structs that hold nothing but uint64, which are added up.
func eachSum[K, V any](a *Agent, name string, yield func(*K, *V)) error {
	m := a.maps[name]
	if m == nil {
		return nil
	}
	var key K
	values := make([]V, a.cpus)
	it := m.Iterate()
	for it.Next(&key, &values) {
		var total V
		for i := range values {
			addWords(&total, &values[i])
		}
		yield(&key, &total)
	}
	return it.Err()
}

// prepareWalk makes an iterator once, before there are readers: to load a program costs more than to run it. The program
// goes through a map and writes a record for each entry; without says what is missing if it is refused.
func (a *Agent) prepareWalk(it **link.Iter, program, over, without string) Probe {
	p := Probe{Name: program, Wanted: true, Attached: true}
	if *it != nil {
		return p
	}
	made, err := a.mapIterator(program, over)
	if err != nil {
		p.Attached, p.Reason = false, shortReason(err)
		a.log.Warn(without, "reason", p.Reason)
		return p
	}
	*it = made
	return p
}

// mapIterator makes an iterator of a program of its own over a map.
func (a *Agent) mapIterator(name, over string) (*link.Iter, error) {
	m := a.maps[over]
	if m == nil {
		return nil, a.missing[over]
	}
	program, err := a.loadProgram(name)
	if err != nil {
		return nil, err
	}
	defer program.Close() // the link keeps it
	return link.AttachIter(link.IterOptions{Program: program, Map: m})
}

// walk calls yield with every record that an iterator writes now. What names them in errors.
func walk[T any](it *link.Iter, what string, yield func(*T)) error {
	if it == nil {
		return nil
	}
	r, err := it.Open()
	if err != nil {
		return fmt.Errorf("walk the %s: %w", what, err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("read the %s: %w", what, err)
	}
	for size := sizeOf[T](); len(data) >= size; data = data[size:] {
		var record T
		copy(bytesIn(&record), data)
		yield(&record)
	}
	return nil
}
