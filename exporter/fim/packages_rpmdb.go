package fim

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// The three formats in which rpm keeps its headers, read by us: a library would open the file by its path, links and all,
// and a real SQLite writes beside it.

const (
	maxRPMDatabase = 1 << 30   // bytes, and of all headers together
	maxRPMLog      = 256 << 20 // bytes
	maxSQLiteDepth = 16
)

// A pageFile reads pages, which are counted from 1 as SQLite does or from 0 as Berkeley DB does.
type pageFile struct {
	*os.File
	name  string // as errors tell it
	size  int64
	state fileState
}

func openPages(r packageRoot, name string) (*pageFile, error) {
	f, err := r.open(name, maxRPMDatabase)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &pageFile{File: f, name: "/" + name, size: info.Size(), state: r.state(name)}, nil
}

func (f *pageFile) bytes(b []byte, at int64) error {
	if _, err := f.ReadAt(b, at); err != nil {
		return fmt.Errorf("%s: %d bytes at %d: %w", f.name, len(b), at, cutOff(err))
	}
	return nil
}

// moved is an error if the file has been written since it was opened.
func (f *pageFile) moved(r packageRoot) error {
	if r.state(strings.TrimPrefix(f.name, "/")) == f.state {
		return nil
	}
	return fmt.Errorf("%s: %w", f.name, errPackageMoved)
}

func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// A sqliteFile is a database of SQLite, read as https://www.sqlite.org/fileformat2.html has it: the tree of one table, and
// what the write-ahead log has newer.
type sqliteFile struct {
	*pageFile
	root     packageRoot
	log      *os.File         // nil if there is none
	newer    map[uint32]int64 // where in the log a page's newest version begins
	pageSize int
	usable   int // bytes of a page
	table    uint32
	salt     []byte // of the log
	record   []byte // given last
	overflow []byte // the page of it read last
	pages    int    // read for one walk or look-up
}

func openSQLite(r packageRoot, name string) (rpmStore, error) {
	f, err := openPages(r, name)
	if err != nil {
		return nil, err
	}
	s := &sqliteFile{pageFile: f, root: r, newer: map[uint32]int64{}}
	if err := s.open(name); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *sqliteFile) Close() error {
	if s.log != nil {
		s.log.Close()
	}
	return s.pageFile.Close()
}

func (s *sqliteFile) open(name string) error {
	if err := s.openLog(name + "-wal"); err != nil {
		return err
	}
	head := make([]byte, 100)
	if err := s.first(head); err != nil {
		return err
	}
	if !bytes.HasPrefix(head, []byte("SQLite format 3\x00")) {
		return fmt.Errorf("%s: not a database of SQLite 3", s.name)
	}
	s.pageSize = int(binary.BigEndian.Uint16(head[16:]))
	if s.pageSize == 1 {
		s.pageSize = 65536
	}
	if s.pageSize < 512 || s.pageSize&(s.pageSize-1) != 0 {
		return fmt.Errorf("%s: pages of %d bytes, want a power of two from 512 on", s.name, s.pageSize)
	}
	if s.usable = s.pageSize - int(head[20]); s.usable < 480 {
		return fmt.Errorf("%s: %d usable bytes of a page, want at least 480", s.name, s.usable)
	}
	return s.findTable()
}

// first reads the head of page 1, the newest.
func (s *sqliteFile) first(head []byte) error {
	if at, ok := s.newer[1]; ok {
		_, err := s.log.ReadAt(head, at)
		return err
	}
	return s.bytes(head, 0)
}

// openLog notes which pages the write-ahead log has newer: those of frames whose salt is the log's and whose sum is right,
// up to the last that ends a transaction.
func (s *sqliteFile) openLog(name string) error {
	log, err := s.root.open(name, maxRPMLog)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.log = log
	head := make([]byte, 32)
	if _, err := io.ReadFull(log, head); err != nil {
		return nil // empty: nothing is newer
	}
	magic, size := binary.BigEndian.Uint32(head), int64(binary.BigEndian.Uint32(head[8:]))
	s.salt = head[16:24]
	sum := walSum{order: binary.LittleEndian}
	if magic&1 != 0 {
		sum.order = binary.BigEndian
	}
	if magic&^1 != 0x377f0682 || size < 512 || size > 65536 || !sum.add(head[:24]).is(head[24:32]) {
		return nil // what SQLite takes for no log at all
	}
	pending, frame := map[uint32]int64{}, make([]byte, 24+size)
	from := bufio.NewReaderSize(io.LimitReader(log, maxRPMLog), 1<<20)
	for at := int64(32); ; at += int64(len(frame)) {
		if _, err := io.ReadFull(from, frame); err != nil || !bytes.Equal(frame[8:16], head[16:24]) {
			return nil
		}
		if !sum.add(frame[:8]).add(frame[24:]).is(frame[16:24]) {
			return nil
		}
		pending[binary.BigEndian.Uint32(frame)] = at + 24
		if binary.BigEndian.Uint32(frame[4:]) != 0 { // the size after a commit
			for page, at := range pending {
				s.newer[page] = at
			}
			clear(pending)
		}
	}
}

// A walSum is the running sum of a write-ahead log.
type walSum struct {
	order  binary.ByteOrder
	s0, s1 uint32
}

func (w *walSum) add(b []byte) *walSum {
	for ; len(b) >= 8; b = b[8:] {
		w.s0 += w.order.Uint32(b) + w.s1
		w.s1 += w.order.Uint32(b[4:]) + w.s0
	}
	return w
}

func (w *walSum) is(b []byte) bool {
	return binary.BigEndian.Uint32(b) == w.s0 && binary.BigEndian.Uint32(b[4:]) == w.s1
}

func (s *sqliteFile) page(number uint32, b []byte) error {
	if most := int(s.size)/s.pageSize + len(s.newer); s.pages > most {
		return fmt.Errorf("%s: the table has more pages than the file, which has %d: they run in a circle", s.name, most)
	}
	s.pages++
	if at, ok := s.newer[number]; ok {
		if _, err := s.log.ReadAt(b, at); err != nil {
			return fmt.Errorf("%s-wal: page %d: %w", s.name, number, cutOff(err))
		}
		return nil
	}
	if number == 0 {
		return fmt.Errorf("%s: there is no page 0", s.name)
	}
	return s.bytes(b, int64(number-1)*int64(s.pageSize))
}

// findTable looks in the schema for where the table Packages begins.
func (s *sqliteFile) findTable() error {
	s.pages = 0
	err := s.walk(1, 0, func(_ uint64, record []byte) error {
		columns, err := sqliteColumns(record, 4)
		if err != nil {
			return err
		}
		if string(columns[0]) == "table" && string(columns[1]) == "Packages" {
			s.table = uint32(sqliteInteger(columns[3]))
		}
		return nil
	})
	if err == nil && s.table == 0 {
		return fmt.Errorf("%s: it has no table Packages", s.name)
	}
	return err
}

func sqliteInteger(b []byte) (n uint64) {
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

// each checks at the end that nobody has written meanwhile what had been noted: pages of two states do not make a table.
func (s *sqliteFile) each(do func(where uint64, blob []byte) error) error {
	s.pages = 0
	err := s.walk(s.table, 0, func(row uint64, record []byte) error {
		blob, err := blobOf(record)
		if err != nil {
			return fmt.Errorf("row %d: %w", row, err)
		}
		return do(row, blob)
	})
	if moved := s.moved(); moved != nil {
		return moved // whatever else was wrong
	}
	return err
}

// moved is an error if the database has been written since it was opened. What is added to its log has not been noted, and
// does no harm; a log that begins again has another salt.
func (s *sqliteFile) moved() error {
	salt := make([]byte, len(s.salt))
	if s.log != nil {
		s.log.ReadAt(salt, 16) // zeros, if the log has been cut off
	}
	if bytes.Equal(salt, s.salt) && s.pageFile.moved(s.root) == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", s.name, errPackageMoved)
}

func blobOf(record []byte) ([]byte, error) {
	columns, err := sqliteColumns(record, 2)
	if err != nil {
		return nil, err
	}
	return columns[1], nil
}

// A sqlitePage is one of a table's tree.
type sqlitePage struct {
	bytes []byte
	at    int // where its head begins
	leaf  bool
	cells int
}

func (s *sqliteFile) tree(number uint32) (p sqlitePage, err error) {
	p.bytes = make([]byte, s.pageSize)
	if err := s.page(number, p.bytes); err != nil {
		return p, err
	}
	if number == 1 {
		p.at = 100
	}
	kind := p.bytes[p.at]
	p.leaf, p.cells = kind == 0x0d, int(binary.BigEndian.Uint16(p.bytes[p.at+3:]))
	if kind != 0x0d && kind != 0x05 {
		return p, fmt.Errorf("%s: page %d is of type %#x, want that of a table", s.name, number, kind)
	}
	if p.pointers()+2*p.cells > len(p.bytes) {
		return p, fmt.Errorf("%s: page %d has %d cells, too many", s.name, number, p.cells)
	}
	return p, nil
}

func (p *sqlitePage) pointers() int {
	if p.leaf {
		return p.at + 8
	}
	return p.at + 12
}

func (p *sqlitePage) cell(i int) []byte {
	return p.bytes[min(int(binary.BigEndian.Uint16(p.bytes[p.pointers()+2*i:])), len(p.bytes)):]
}

func (p *sqlitePage) rightmost() uint32 { return binary.BigEndian.Uint32(p.bytes[p.at+8:]) }

// sqliteInner reads a cell of an inner page: the page on the left, and the last row on it.
func sqliteInner(cell []byte) (left uint32, row uint64, ok bool) {
	if len(cell) < 5 {
		return 0, 0, false
	}
	row, n := sqliteVarint(cell[4:])
	return binary.BigEndian.Uint32(cell), row, n > 0
}

func (s *sqliteFile) walk(number uint32, depth int, do func(row uint64, record []byte) error) error {
	p, err := s.tree(number)
	if err != nil {
		return err
	}
	if depth > maxSQLiteDepth {
		return fmt.Errorf("%s: the table's tree is deeper than %d", s.name, maxSQLiteDepth)
	}
	for i := range p.cells {
		if p.leaf {
			err = s.leaf(p.cell(i), number, do)
		} else if left, _, ok := sqliteInner(p.cell(i)); ok {
			err = s.walk(left, depth+1, do)
		} else {
			err = fmt.Errorf("%s: page %d: cell %d ends too early", s.name, number, i)
		}
		if err != nil {
			return err
		}
	}
	if p.leaf {
		return nil
	}
	return s.walk(p.rightmost(), depth+1, do)
}

func (s *sqliteFile) leaf(cell []byte, number uint32, do func(row uint64, record []byte) error) error {
	row, record, err := s.payload(cell)
	if err != nil {
		return fmt.Errorf("%s: page %d: %w", s.name, number, err)
	}
	return do(row, record)
}

// blob finds a row by descending the tree.
func (s *sqliteFile) blob(where uint64) ([]byte, error) {
	s.pages = 0
	for number := s.table; ; {
		p, err := s.tree(number)
		if err != nil {
			return nil, err
		}
		if p.leaf {
			return s.row(&p, where)
		}
		number = p.rightmost()
		for i := range p.cells {
			if left, last, ok := sqliteInner(p.cell(i)); ok && where <= last {
				number = left
				break
			}
		}
	}
}

func (s *sqliteFile) row(p *sqlitePage, where uint64) ([]byte, error) {
	for i := range p.cells {
		_, n := sqliteVarint(p.cell(i))
		if row, _ := sqliteVarint(p.cell(i)[n:]); row != where {
			continue
		}
		_, record, err := s.payload(p.cell(i))
		if err != nil {
			return nil, fmt.Errorf("%s: row %d: %w", s.name, where, err)
		}
		return blobOf(record)
	}
	return nil, fmt.Errorf("%s: there is no row %d", s.name, where)
}

// payload gathers the record of a leaf's cell, most of which lies in a chain of overflow pages.
func (s *sqliteFile) payload(cell []byte) (row uint64, record []byte, err error) {
	size, n := sqliteVarint(cell)
	row, m := sqliteVarint(cell[n:])
	if n == 0 || m == 0 || size > maxRPMHeader+64 {
		return 0, nil, fmt.Errorf("a record of %d bytes, want at most %d", size, maxRPMHeader)
	}
	cell = cell[n+m:]
	local := s.local(int(size))
	if local > len(cell) {
		return 0, nil, io.ErrUnexpectedEOF
	}
	s.record = append(s.record[:0], cell[:local]...)
	if local == int(size) {
		return row, s.record, nil
	}
	if len(cell) < local+4 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	err = s.overflows(binary.BigEndian.Uint32(cell[local:]), int(size))
	return row, s.record, err
}

func (s *sqliteFile) overflows(next uint32, size int) error {
	if len(s.overflow) == 0 {
		s.overflow = make([]byte, s.pageSize)
	}
	s.record = slices.Grow(s.record, min(size, int(min(s.size, maxRPMHeader))))
	for len(s.record) < size {
		if err := s.page(next, s.overflow); err != nil {
			return err
		}
		next = binary.BigEndian.Uint32(s.overflow)
		s.record = append(s.record, s.overflow[4:4+min(s.usable-4, size-len(s.record))]...)
	}
	return nil
}

// local is how much of a record its cell holds.
func (s *sqliteFile) local(size int) int {
	most, least := s.usable-35, (s.usable-12)*32/255-23
	if size <= most {
		return size
	}
	if k := least + (size-least)%(s.usable-4); k <= most {
		return k
	}
	return least
}

// sqliteColumns returns the first columns of a record: integers as their big-endian bytes, texts and blobs as they are.
func sqliteColumns(b []byte, count int) ([][]byte, error) {
	size, n := sqliteVarint(b)
	if n == 0 || size > uint64(len(b)) || int(size) < n {
		return nil, errors.New("the head of a record ends too early")
	}
	head, body := b[n:size], b[size:]
	columns := make([][]byte, 0, count)
	for range count {
		kind, n := sqliteVarint(head)
		length := sqliteLength(kind)
		if n == 0 || length > uint64(len(body)) {
			return nil, fmt.Errorf("column %d of a record ends too early", len(columns)+1)
		}
		columns = append(columns, body[:length])
		head, body = head[n:], body[length:]
	}
	return columns, nil
}

func sqliteLength(kind uint64) uint64 {
	if kind >= 12 {
		return (kind - 12) / 2
	}
	return [...]uint64{0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0}[kind]
}

// sqliteVarint reads up to nine bytes, the most significant first; n is 0 if they end too early.
func sqliteVarint(b []byte) (v uint64, n int) {
	for n < len(b) && n < 8 {
		v = v<<7 | uint64(b[n]&0x7f)
		if n++; b[n-1]&0x80 == 0 {
			return v, n
		}
	}
	if n == 8 && len(b) > 8 {
		return v<<8 | uint64(b[8]), 9
	}
	return 0, 0
}

// An ndbFile is rpm's own format (lib/backend/ndb/rpmpkg.c), little-endian throughout: a head of 32 bytes, slots of 16 that
// fill its first pages, and blobs, which lie on units of 16 bytes.
type ndbFile struct {
	*pageFile
	root   packageRoot
	slots  int
	buffer []byte
}

const (
	ndbUnit     = 16
	ndbPage     = 4096
	ndbMagic    = "RpmP"
	ndbSlot     = "Slot"
	ndbBlob     = "BlbS"
	ndbBlobEnd  = "BlbE"
	ndbBlobHead = 16
	ndbBlobTail = 12
)

func openNDB(r packageRoot, name string) (rpmStore, error) {
	f, err := openPages(r, name)
	if err != nil {
		return nil, err
	}
	head := make([]byte, 32)
	if err = f.bytes(head, 0); err == nil && string(head[:4]) != ndbMagic {
		err = fmt.Errorf("%s: not a database of rpm's ndb", f.name)
	}
	pages := binary.LittleEndian.Uint32(head[12:])
	if err == nil && (pages == 0 || int64(pages)*ndbPage > f.size) {
		err = fmt.Errorf("%s: %d pages of slots in %d bytes", f.name, pages, f.size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &ndbFile{pageFile: f, root: r, slots: int(pages)*ndbPage/ndbUnit - 2}, nil
}

// each gives blobs by where they lie, in units in the high half and their count in the low. A blob that was written
// meanwhile lies elsewhere: the file's state tells.
func (f *ndbFile) each(do func(where uint64, blob []byte) error) error {
	slots := make([]byte, f.slots*ndbUnit)
	if err := f.bytes(slots, 2*ndbUnit); err != nil {
		return err
	}
	for i := 0; len(slots) > 0; i, slots = i+1, slots[ndbUnit:] {
		if string(slots[:4]) != ndbSlot {
			return fmt.Errorf("%s: slot %d begins with %q, want %q", f.name, i, slots[:4], ndbSlot)
		}
		at, count := binary.LittleEndian.Uint32(slots[8:]), binary.LittleEndian.Uint32(slots[12:])
		if at == 0 {
			continue // empty
		}
		where := uint64(at)<<32 | uint64(count)
		blob, err := f.blob(where)
		if err != nil {
			return err
		}
		if err := do(where, blob); err != nil {
			return err
		}
	}
	return f.moved(f.root)
}

func (f *ndbFile) blob(where uint64) ([]byte, error) {
	at, size := int64(where>>32)*ndbUnit, int64(uint32(where))*ndbUnit
	if size < ndbBlobHead+ndbBlobTail || size > maxRPMHeader || at+size > f.size {
		return nil, fmt.Errorf("%s: a blob of %d bytes at %d of %d", f.name, size, at, f.size)
	}
	if int64(cap(f.buffer)) < size {
		f.buffer = make([]byte, size)
	}
	b := f.buffer[:size]
	if err := f.bytes(b, at); err != nil {
		return nil, err
	}
	length := int64(binary.LittleEndian.Uint32(b[12:]))
	if string(b[:4]) != ndbBlob || string(b[size-4:]) != ndbBlobEnd || length > size-ndbBlobHead-ndbBlobTail {
		return nil, fmt.Errorf("%s: no blob at %d", f.name, at)
	}
	return b[ndbBlobHead : ndbBlobHead+length], nil
}

// A bdbFile is a hash database of Berkeley DB (dbinc/db_page.h), what rpm had before 4.16: RHEL 8, Amazon Linux 2 and older.
type bdbFile struct {
	*pageFile
	root     packageRoot
	order    binary.ByteOrder
	pageSize int
	last     uint32
	buffer   []byte
}

// Types of pages and of what is on them.
const (
	bdbHashMagic    = 0x061561
	bdbHashUnsorted = 2
	bdbOverflow     = 7
	bdbHash         = 13
	bdbPageHead     = 26
	bdbKeyData      = 1 // H_KEYDATA: the bytes follow
	bdbOffPage      = 3 // H_OFFPAGE: a chain of overflow pages has them
)

func openBDB(r packageRoot, name string) (rpmStore, error) {
	f, err := openPages(r, name)
	if err != nil {
		return nil, err
	}
	b := &bdbFile{pageFile: f, root: r, order: binary.LittleEndian}
	if err := b.open(); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (f *bdbFile) open() error {
	head := make([]byte, 72)
	if err := f.bytes(head, 0); err != nil {
		return err
	}
	if f.order.Uint32(head[12:]) != bdbHashMagic {
		f.order = binary.BigEndian
	}
	if f.order.Uint32(head[12:]) != bdbHashMagic || head[24] != 0 {
		return fmt.Errorf("%s: not a hash database of Berkeley DB, or an encrypted one", f.name)
	}
	f.pageSize, f.last = int(f.order.Uint32(head[20:])), f.order.Uint32(head[32:])
	if f.pageSize < 512 || f.pageSize > 65536 || f.pageSize&(f.pageSize-1) != 0 || int64(f.last) > f.size/int64(f.pageSize) {
		return fmt.Errorf("%s: %d pages of %d bytes in %d bytes", f.name, f.last, f.pageSize, f.size)
	}
	return nil
}

func (f *bdbFile) page(number uint32) ([]byte, error) {
	b := make([]byte, f.pageSize)
	return b, f.bytes(b, int64(number)*int64(f.pageSize))
}

// each looks at all pages for keys and values. A header's place is its page and which of the page's items it is.
func (f *bdbFile) each(do func(where uint64, blob []byte) error) error {
	for number := uint32(1); number <= f.last; number++ {
		if int64(number+1)*int64(f.pageSize) > f.size {
			break // counted, and not yet written
		}
		page, err := f.page(number)
		if err != nil {
			return err
		}
		if page[25] != bdbHash && page[25] != bdbHashUnsorted {
			continue
		}
		for i := 1; i < f.items(page); i += 2 { // after each key its value
			if bytes.Equal(f.item(page, i-1), []byte{bdbKeyData, 0, 0, 0, 0}) {
				continue // key 0 has the number of the last header
			}
			blob, err := f.value(page, i)
			if err != nil {
				return fmt.Errorf("%s: page %d: item %d: %w", f.name, number, i, err)
			}
			if err := do(uint64(number)<<16|uint64(i), blob); err != nil {
				return err
			}
		}
	}
	return f.moved(f.root)
}

func (f *bdbFile) items(page []byte) int {
	return min(int(f.order.Uint16(page[20:])), (len(page)-bdbPageHead)/2)
}

// item returns an item's bytes; they lie from the page's end downwards, in the order of the items.
func (f *bdbFile) item(page []byte, i int) []byte {
	begin, end := int(f.order.Uint16(page[bdbPageHead+2*i:])), len(page)
	if i > 0 {
		end = int(f.order.Uint16(page[bdbPageHead+2*(i-1):]))
	}
	if begin >= end || end > len(page) {
		return nil
	}
	return page[begin:end]
}

func (f *bdbFile) blob(where uint64) ([]byte, error) {
	page, err := f.page(uint32(where >> 16))
	if err != nil {
		return nil, err
	}
	if i := int(where & 0xffff); i < f.items(page) {
		return f.value(page, i)
	}
	return nil, fmt.Errorf("%s: no item at %#x", f.name, where)
}

func (f *bdbFile) value(page []byte, i int) ([]byte, error) {
	item := f.item(page, i)
	switch {
	case len(item) >= 1 && item[0] == bdbKeyData:
		return item[1:], nil
	case len(item) >= 12 && item[0] == bdbOffPage:
		return f.chain(f.order.Uint32(item[4:]), f.order.Uint32(item[8:]))
	}
	return nil, errors.New("neither bytes nor overflow pages")
}

func (f *bdbFile) chain(number, size uint32) ([]byte, error) {
	if int64(size) > maxRPMHeader || int64(size) > f.size {
		return nil, fmt.Errorf("a value of %d bytes, want at most %d", size, maxRPMHeader)
	}
	f.buffer = f.buffer[:0]
	for uint32(len(f.buffer)) < size {
		page, err := f.page(number)
		if err != nil {
			return nil, err
		}
		length := int(f.order.Uint16(page[22:]))
		if page[25] != bdbOverflow || length == 0 || length > len(page)-bdbPageHead {
			return nil, fmt.Errorf("page %d has %d bytes and type %d, want an overflow page", number, length, page[25])
		}
		f.buffer = append(f.buffer, page[bdbPageHead:bdbPageHead+length]...)
		number = f.order.Uint32(page[16:])
	}
	return f.buffer[:size], nil
}
