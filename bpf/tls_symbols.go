package bpf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Where in a file a library of TLS is probed. Files are of workloads, large and not to be trusted: they are read in
// pieces, everything found in them is checked, and no table of theirs is held in memory as a whole but the one of
// functions' addresses, which is bounded.

// A place is one point of a file that is probed.
type place struct {
	program string
	offset  uint64 // in the file
	returns bool   // when the function that begins here returns
}

// errNoPlaces says that a file has none of what is probed, as where it only names functions of a library.
var errNoPlaces = errors.New("no functions of TLS")

const (
	maxFunctions = 4 << 20 // of one Go program; the largest known have 500,000
	maxFunction  = 1 << 20 // bytes of one function's code
	readPiece    = 1 << 20
)

// opensslFunctions is what is probed of OpenSSL and BoringSSL: an entry, and whether the call matters when it returns.
// SSL_write_ex calls SSL_write_ex2 where that exists; the program knows a call within a call.
var opensslFunctions = []struct {
	symbol, program string
	returns         bool
}{
	{"SSL_read", "openssl_read", true},
	{"SSL_read_ex", "openssl_read_ex", true},
	{"SSL_write", "openssl_write", true},
	{"SSL_write_ex", "openssl_write_ex", true},
	{"SSL_write_ex2", "openssl_write_ex2", true},
	{"SSL_sendfile", "openssl_sendfile", true},
	{"SSL_do_handshake", "openssl_handshake", false},
	{"SSL_free", "openssl_free", false},
}

const openSSLReturned = "openssl_returned"

// opensslPlaces finds the functions of a library, or of a program that has one inside, by its symbols.
func opensslPlaces(r io.ReaderAt) ([]place, error) {
	f, err := openELF(r)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(opensslFunctions))
	for i, fn := range opensslFunctions {
		names[i] = fn.symbol
	}
	found, err := findSymbols(f, names)
	if err != nil {
		return nil, err
	}
	if found["SSL_read"] == 0 || found["SSL_write"] == 0 {
		return nil, fmt.Errorf("%w: want the symbols SSL_read and SSL_write", errNoPlaces)
	}
	var places []place
	for _, fn := range opensslFunctions {
		address := found[fn.symbol]
		if address == 0 {
			continue
		}
		offset, err := fileOffset(f, address)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", fn.symbol, err)
		}
		places = append(places, place{program: fn.program, offset: offset})
		if fn.returns {
			places = append(places, place{program: openSSLReturned, offset: offset, returns: true})
		}
	}
	return places, nil
}

func openELF(r io.ReaderAt) (*elf.File, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("read ELF headers: %w", err)
	}
	if f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB {
		return nil, fmt.Errorf("%w: want a 64-bit little-endian file", errNoPlaces)
	}
	return f, nil
}

// fileOffset is where in the file the instruction at an address stands.
func fileOffset(f *elf.File, address uint64) (uint64, error) {
	p, err := codeAt(f, address)
	if err != nil {
		return 0, err
	}
	return address - p.Vaddr + p.Off, nil
}

// codeAt is the executable segment that an address is in.
func codeAt(f *elf.File, address uint64) (*elf.Prog, error) {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && address >= p.Vaddr && address-p.Vaddr < p.Filesz {
			return p, nil
		}
	}
	return nil, fmt.Errorf("address %#x: want one of an executable segment", address)
}

// ---- symbols ----

const symbolSize = 24 // of a 64-bit symbol table

// findSymbols returns the addresses of functions by name, from the symbols for linking and from those for debugging.
func findSymbols(f *elf.File, names []string) (map[string]uint64, error) {
	found := map[string]uint64{}
	for _, table := range []elf.SectionType{elf.SHT_DYNSYM, elf.SHT_SYMTAB} {
		section := f.SectionByType(table)
		if section == nil || section.Link == 0 || int(section.Link) >= len(f.Sections) {
			continue
		}
		at, err := findNames(f.Sections[section.Link], names)
		if err != nil {
			return nil, err
		}
		if err := findFunctions(section, at, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// findNames returns where names end a string of a table: linkers let a name be the tail of another.
func findNames(section *elf.Section, names []string) (map[uint32]string, error) {
	at := map[uint32]string{}
	var ended [][]byte
	for _, name := range names {
		ended = append(ended, append([]byte(name), 0))
	}
	err := eachPiece(section, len(slices.MaxFunc(ended, byLength)), func(base uint64, piece []byte) {
		for i, name := range ended {
			for from := 0; ; {
				n := bytes.Index(piece[from:], name)
				if n < 0 {
					break
				}
				from += n
				at[uint32(base)+uint32(from)] = names[i]
				from++
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", section.Name, err)
	}
	return at, nil
}

func byLength(a, b []byte) int { return len(a) - len(b) }

// eachPiece reads a section in pieces that overlap, so that whatever is no longer than overlap is within one.
func eachPiece(section *elf.Section, overlap int, do func(base uint64, piece []byte)) error {
	if section.Type == elf.SHT_NOBITS || section.Flags&elf.SHF_COMPRESSED != 0 {
		return fmt.Errorf("%w: section %s has no plain contents", errNoPlaces, section.Name)
	}
	piece := make([]byte, readPiece+overlap)
	for base := uint64(0); base < section.FileSize; base += readPiece {
		n, err := section.ReaderAt.ReadAt(piece, int64(base))
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		do(base, piece[:n])
	}
	return nil
}

func findFunctions(section *elf.Section, names map[uint32]string, found map[string]uint64) error {
	if len(names) == 0 {
		return nil
	}
	piece := make([]byte, readPiece/symbolSize*symbolSize)
	for base := int64(0); base < int64(section.FileSize); base += int64(len(piece)) {
		n, err := section.ReaderAt.ReadAt(piece, base)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read %s: %w", section.Name, err)
		}
		for s := piece[:n/symbolSize*symbolSize]; len(s) > 0; s = s[symbolSize:] {
			name, wanted := names[binary.LittleEndian.Uint32(s)]
			value := binary.LittleEndian.Uint64(s[8:])
			defined := binary.LittleEndian.Uint16(s[6:]) != uint16(elf.SHN_UNDEF)
			if wanted && defined && value != 0 && elf.ST_TYPE(s[4]) == elf.STT_FUNC {
				found[name] = value
			}
		}
	}
	return nil
}

// ---- Go ----

// goFunctions is what is probed of a Go program: where a function begins, or where it returns. A Go stack moves, so its
// return is never hijacked: each instruction that returns is probed instead. And a function begins again when its stack has
// grown, so the entry is the first instruction that is only reached when it does not.
var goFunctions = []struct{ name, entry, returns string }{
	{"crypto/tls.(*Conn).Read", "", "go_read_returns"},
	{"crypto/tls.(*Conn).Write", "go_write", ""},
	{"crypto/tls.(*Conn).Close", "go_close", ""},
	{"crypto/tls.(*Conn).clientHandshake", "go_handshake", ""},
	{"crypto/tls.(*Conn).serverHandshake", "go_handshake", ""},
}

// goPlaces finds the functions by the table of functions that the Go runtime itself needs, which no stripping removes.
func goPlaces(r io.ReaderAt) ([]place, error) {
	f, err := openELF(r)
	if err != nil {
		return nil, err
	}
	t, err := openFunctionTable(f)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, fn := range goFunctions {
		names = append(names, fn.name)
	}
	found, err := t.find(names)
	if err != nil {
		return nil, err
	}
	if found["crypto/tls.(*Conn).Read"] == nil || found["crypto/tls.(*Conn).Write"] == nil {
		return nil, fmt.Errorf("%w: want crypto/tls linked in", errNoPlaces)
	}
	text, err := t.textStart(found["crypto/tls.(*Conn).Read"])
	if err != nil {
		return nil, err
	}
	var places []place
	for _, fn := range goFunctions {
		g := found[fn.name]
		if g == nil {
			continue
		}
		entry, returns, err := t.points(text, g)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", fn.name, err)
		}
		if fn.entry != "" {
			places = append(places, place{program: fn.entry, offset: entry})
			continue
		}
		if err := t.checkArguments(text, g, entry); err != nil {
			return nil, fmt.Errorf("%s: %w", fn.name, err)
		}
		for _, offset := range returns {
			places = append(places, place{program: fn.returns, offset: offset})
		}
	}
	return places, nil
}

// functionTable is the table of functions of a Go program, .gopclntab.
type functionTable struct {
	f                             *elf.File
	section                       *elf.Section
	quantum                       uint64 // of instructions' addresses
	count                         uint64 // functions
	word                          uint64 // bytes of an address of a function: 8 until Go 1.17, then 4, counted from where the text begins
	text                          uint64 // where functions' addresses count from, as the table says: 0 since Go 1.26
	names, cus, stacks, functions uint64 // offsets of parts
}

// Magic numbers of the table, by the first Go that writes it; between the last two only names changed. Go 1.17 is the first
// that passes arguments in registers, on x86-64, and 1.18 on arm64.
const (
	goTable116 = 0xfffffffa
	goTable118 = 0xfffffff0
	goTable120 = 0xfffffff1
)

func openFunctionTable(f *elf.File) (*functionTable, error) {
	section, err := functionTableSection(f)
	if err != nil {
		return nil, err
	}
	h := make([]byte, 8+8*8)
	if _, err := section.ReaderAt.ReadAt(h, 0); err != nil {
		return nil, fmt.Errorf("read the table of functions: %w", err)
	}
	le := binary.LittleEndian
	magic := le.Uint32(h)
	if magic != goTable118 && magic != goTable120 && (magic != goTable116 || f.Machine != elf.EM_X86_64) {
		return nil, fmt.Errorf("table of functions %#x: want that of Go 1.17 or newer, on arm64 1.18", magic)
	}
	if h[6] == 0 || h[6] > 8 || h[7] != 8 {
		return nil, fmt.Errorf("table of functions: quantum %d, pointers of %d bytes: want a 64-bit program", h[6], h[7])
	}
	t := &functionTable{f: f, section: section, quantum: uint64(h[6]), count: le.Uint64(h[8:]), word: 8}
	offsets := h[24:]
	if magic != goTable116 {
		t.word, t.text, offsets = 4, le.Uint64(h[24:]), h[32:]
	}
	t.names, t.cus, t.stacks, t.functions = le.Uint64(offsets), le.Uint64(offsets[8:]), le.Uint64(offsets[24:]), le.Uint64(offsets[32:])
	if t.count == 0 || t.count > maxFunctions || t.names > t.cus || t.cus > section.FileSize || t.stacks > section.FileSize ||
		t.functions > section.FileSize {
		return nil, fmt.Errorf("table of functions: %d functions, parts at %d, %d, %d, %d of %d bytes: want parts within it",
			t.count, t.names, t.cus, t.stacks, t.functions, section.FileSize)
	}
	return t, nil
}

// functionTableSection is the section with the table. The C linker puts it into another one of a position-independent
// program; there it is told by its first eight bytes, behind which openFunctionTable checks the rest.
func functionTableSection(f *elf.File) (*elf.Section, error) {
	for _, name := range []string{".gopclntab", ".data.rel.ro.gopclntab"} {
		if s := f.Section(name); s != nil {
			return s, nil
		}
	}
	s := f.Section(".data.rel.ro")
	if s == nil || f.Section(".note.go.buildid") == nil && f.Section(".go.buildinfo") == nil {
		return nil, fmt.Errorf("%w: want the section .gopclntab of a Go program", errNoPlaces)
	}
	at := int64(-1)
	err := eachPiece(s, 8, func(base uint64, piece []byte) {
		for i := 0; i+8 <= len(piece) && at < 0; i += 8 {
			h := piece[i:]
			magic := binary.LittleEndian.Uint32(h)
			if (magic == goTable116 || magic == goTable118 || magic == goTable120) && h[4] == 0 && h[5] == 0 && h[7] == 8 {
				at = int64(base) + int64(i)
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.Name, err)
	}
	if at < 0 {
		return nil, fmt.Errorf("%w: want a table of functions in %s of a Go program", errNoPlaces, s.Name)
	}
	part := *s
	part.FileSize -= uint64(at)
	part.ReaderAt = io.NewSectionReader(s.ReaderAt, at, int64(part.FileSize))
	return &part, nil
}

// A goFunction is one row of the table: its code from begin to end, counted from the text's start, and where the table of
// its stack's depth is.
type goFunction struct {
	begin, end uint64
	stack      uint32
}

// find returns the rows of functions by name; those that are not there are not in the map.
func (t *functionTable) find(names []string) (map[string]*goFunction, error) {
	wanted, err := t.findNames(names)
	if err != nil || len(wanted) == 0 {
		return nil, err
	}
	w := t.word
	index := make([]byte, 2*w*t.count+w) // addresses and offsets of rows in turn, and where the last function ends
	if _, err := t.section.ReaderAt.ReadAt(index, int64(t.functions)); err != nil {
		return nil, fmt.Errorf("read the table of functions: %w", err)
	}
	le := binary.LittleEndian
	found := map[string]*goFunction{}
	buffer, window, base := make([]byte, 64<<10), []byte(nil), uint64(0)
	for i := uint64(0); i < t.count && len(found) < len(wanted); i++ {
		at := t.functions + t.number(index, 2*i+1)
		row := w + 16 // to the end of what is read of it: address, name, two more, stack
		if at < base || at+row > base+uint64(len(window)) {
			n, err := t.section.ReaderAt.ReadAt(buffer, int64(at))
			if n < int(row) {
				return nil, fmt.Errorf("read function %d of the table: %w", i, err)
			}
			base, window = at, buffer[:n]
		}
		r := window[at-base+w:]
		if name, ok := wanted[le.Uint32(r)]; ok {
			found[name] = &goFunction{begin: t.number(index, 2*i), end: t.number(index, 2*i+2), stack: le.Uint32(r[12:])}
		}
	}
	return found, nil
}

// number is the i-th of the numbers that the table begins with.
func (t *functionTable) number(index []byte, i uint64) uint64 {
	if t.word == 4 {
		return uint64(binary.LittleEndian.Uint32(index[4*i:]))
	}
	return binary.LittleEndian.Uint64(index[8*i:])
}

// findNames returns where in the table of names each one begins.
func (t *functionTable) findNames(names []string) (map[uint32]string, error) {
	part := &elf.Section{SectionHeader: elf.SectionHeader{Name: "names of functions", FileSize: t.cus - t.names},
		ReaderAt: io.NewSectionReader(t.section.ReaderAt, int64(t.names), int64(t.cus-t.names))}
	ends, err := findNames(part, names)
	if err != nil {
		return nil, err
	}
	before := make([]byte, 1)
	for at := range ends {
		if at == 0 {
			continue
		}
		if _, err := part.ReaderAt.ReadAt(before, int64(at)-1); err != nil {
			return nil, fmt.Errorf("read %s: %w", part.Name, err)
		}
		if before[0] != 0 {
			delete(ends, at) // the tail of a longer name
		}
	}
	return ends, nil
}

// textStart is the address from which functions' addresses count. Programs may be linked with code of other languages in
// front of Go's, and stripped; so what says it is tried in turn, and the one under which a function has the shape that
// its table describes is right.
func (t *functionTable) textStart(g *goFunction) (uint64, error) {
	if t.word == 8 {
		return 0, nil // they are addresses
	}
	candidates := []uint64{t.text}
	if symbols, err := findSymbols(t.f, []string{"runtime.text"}); err == nil {
		candidates = append(candidates, symbols["runtime.text"])
	}
	if s := t.f.Section(".text"); s != nil {
		candidates = append(candidates, s.Addr)
	}
	if s := t.f.Section(".go.module"); s != nil {
		const textField = 22 * 8 // of runtime.moduledata, in Go 1.26, the first that has this section
		word := make([]byte, 8)
		if _, err := s.ReaderAt.ReadAt(word, textField); err == nil {
			candidates = append(candidates, binary.LittleEndian.Uint64(word))
		}
	}
	var last error
	for _, text := range candidates {
		if text == 0 {
			continue
		}
		if _, _, err := t.points(text, g); err != nil {
			last = err
			continue
		}
		return text, nil
	}
	return 0, fmt.Errorf("where the program's text begins is not known: %w", last)
}

// points are the offsets in the file of the first instruction of a function that is reached once, and of those that
// return. Both are told by how deep the stack is: it first becomes deeper behind the check whether it must grow, and what
// stands where it is at its beginning again either returns or is the call that makes it grow.
func (t *functionTable) points(text uint64, g *goFunction) (entry uint64, returns []uint64, err error) {
	if g.end <= g.begin || g.end-g.begin > maxFunction {
		return 0, nil, fmt.Errorf("function of %d bytes: want 1 to %d", int64(g.end-g.begin), maxFunction)
	}
	begin, err := fileOffset(t.f, text+g.begin)
	if err != nil {
		return 0, nil, err
	}
	depths, err := t.depths(g)
	if err != nil {
		return 0, nil, err
	}
	code := make([]byte, g.end-g.begin)
	if err := readCode(t.f, text+g.begin, code); err != nil {
		return 0, nil, err
	}
	machine := machines[t.f.Machine]
	if machine.isReturn == nil {
		return 0, nil, fmt.Errorf("machine %s: want x86-64 or arm64", t.f.Machine)
	}
	for _, d := range depths {
		switch {
		case entry == 0 && d.value > 0 && d.from > 0:
			entry = begin + uint64(d.from) - machine.backToPush(code, d)
		case entry != 0 && d.value == 0:
			at := d.from + machine.padding(code[d.from:])
			if machine.isReturn(code[at:]) {
				returns = append(returns, begin+uint64(at))
			}
		}
	}
	if entry == 0 || len(returns) == 0 {
		return 0, nil, errors.New("no instruction that enters or returns: want code that the stack's depths describe")
	}
	return entry, returns, nil
}

// checkArguments makes sure that a function puts its first three arguments where its caller has left room for them, before
// it does anything else: there they still are when it returns.
func (t *functionTable) checkArguments(text uint64, g *goFunction, entry uint64) error {
	depths, err := t.depths(g)
	if err != nil {
		return err
	}
	code := make([]byte, g.end-g.begin)
	if err := readCode(t.f, text+g.begin, code); err != nil {
		return err
	}
	begin, err := fileOffset(t.f, text+g.begin)
	if err != nil {
		return err
	}
	const beginning = 128 // bytes of code
	kept := [3]bool{}
	for at := entry - begin; at < min(entry-begin+beginning, uint64(len(code))); at++ {
		i := slices.IndexFunc(depths, func(d depth) bool { return uint64(d.from) > at })
		if i < 0 {
			i = len(depths)
		}
		for argument := range kept {
			home := uint32(depths[max(i, 1)-1].value) + 8*uint32(argument+1)
			kept[argument] = kept[argument] || bytes.HasPrefix(code[at:], machines[t.f.Machine].store(argument, home))
		}
	}
	if kept != [3]bool{true, true, true} {
		return fmt.Errorf("arguments kept on the stack: %v: want all three", kept)
	}
	return nil
}

func readCode(f *elf.File, address uint64, code []byte) error {
	p, err := codeAt(f, address)
	if err != nil {
		return err
	}
	if _, err := p.ReaderAt.ReadAt(code, int64(address-p.Vaddr)); err != nil {
		return fmt.Errorf("read code: %w", err)
	}
	return nil
}

// machines are the instructions that matter.
var machines = map[elf.Machine]struct {
	isReturn   func(code []byte) bool
	padding    func(code []byte) uint32 // bytes of instructions in front that do nothing
	backToPush func(code []byte, d depth) uint64
	store      func(argument int, offset uint32) []byte // what puts the register of an argument there, from the stack's end
}{
	elf.EM_X86_64: {
		isReturn: func(code []byte) bool { return len(code) > 0 && code[0] == 0xc3 },
		padding:  nops,
		// The kernel carries out a push by itself; every other instruction costs a second trap.
		backToPush: func(code []byte, d depth) uint64 {
			if d.value == 8 && code[d.from-1] == 0x55 { // push %rbp
				return 1
			}
			return 0
		},
		store: func(argument int, offset uint32) []byte { // mov %rax, %rbx or %rcx, offset(%rsp)
			register := [3]byte{0, 3, 1}[argument] << 3
			if offset < 0x80 {
				return []byte{0x48, 0x89, 0x44 | register, 0x24, byte(offset)}
			}
			return binary.LittleEndian.AppendUint32([]byte{0x48, 0x89, 0x84 | register, 0x24}, offset)
		},
	},
	elf.EM_AARCH64: {
		isReturn: func(code []byte) bool {
			return len(code) >= 4 && binary.LittleEndian.Uint32(code) == 0xd65f03c0 // ret
		},
		padding:    func([]byte) uint32 { return 0 },
		backToPush: func([]byte, depth) uint64 { return 0 },
		store: func(argument int, offset uint32) []byte { // str x0, x1 or x2, [sp, #offset]
			return binary.LittleEndian.AppendUint32(nil, 0xf90003e0|offset/8<<10|uint32(argument))
		},
	},
}

// nops is how long the instructions are that Go puts in front of a return so that it does not cross 32 bytes: of one byte
// or many, as the processor's manual recommends them.
func nops(code []byte) uint32 {
	lengths := map[byte]int{0x00: 3, 0x40: 4, 0x44: 5, 0x80: 7, 0x84: 8} // by how the address is written that they name
	at := 0
	for {
		c := code[at:]
		prefix := 0
		if len(c) > 0 && c[0] == 0x66 {
			prefix = 1
		}
		c = c[prefix:]
		switch {
		case len(c) > 0 && c[0] == 0x90:
			at += prefix + 1
		case len(c) > 2 && c[0] == 0x0f && c[1] == 0x1f && lengths[c[2]] > 0 && lengths[c[2]] <= len(c):
			at += prefix + lengths[c[2]]
		default:
			return uint32(at)
		}
	}
}

// A depth is how many bytes the stack has grown from an instruction on.
type depth struct {
	from  uint32 // from the function's beginning
	value int64
}

// depths decodes a function's table of them: pairs of numbers of 7 bits a byte, how the value changes, its sign in the
// lowest bit, and how far it holds.
func (t *functionTable) depths(g *goFunction) ([]depth, error) {
	length := g.end - g.begin
	table := make([]byte, min(4*length/t.quantum+16, 64<<10))
	n, err := t.section.ReaderAt.ReadAt(table, int64(t.stacks)+int64(g.stack))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the stack's depths: %w", err)
	}
	in := bytes.NewReader(table[:n])
	var all []depth
	value := int64(-1)
	for pc := uint64(0); pc < length; {
		change, err := binary.ReadUvarint(in)
		if err != nil {
			return nil, fmt.Errorf("stack's depths: %w", err)
		}
		if change == 0 && pc > 0 {
			break
		}
		far, err := binary.ReadUvarint(in)
		if err != nil {
			return nil, fmt.Errorf("stack's depths: %w", err)
		}
		value += int64(change>>1) ^ -int64(change&1)
		all = append(all, depth{uint32(pc), value})
		if far == 0 || far > length {
			return nil, fmt.Errorf("stack's depth holds for %d bytes: want 1 to %d", far, length)
		}
		pc += far * t.quantum
	}
	return all, nil
}
