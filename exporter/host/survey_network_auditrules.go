package host

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxAuditRules bounds how many rules are read.
const maxAuditRules = 20_000

// An auditRule is a rule of the audit, as far as surveys understand it: of a file, or of the running kernel.
type auditRule struct {
	list, action string   // exit and always are those that count
	arch         string   // b64 or b32; empty if the rule does not say
	syscalls     []string // those of auditSyscalls; allSyscalls if it is about all
	path, dir    string   // what it is about: a file, or all below a directory
	watch        bool     // written -w: of a directory it is about all below
	perm         string   // of rwxa
	key          string
	exit         string // what the call must return: EACCES
	compare      string // two of the caller's numbers that must differ: euid uid
	narrow       bool   // it has another condition, so that less is recorded than it seems
	at           string
}

// allSyscalls stands for all system calls.
const allSyscalls = "all"

// auditSyscalls are the numbers of system calls that requirements name: of x86-64, i386, arm64 and arm; below 0 there is none.
var auditSyscalls = map[string][4]int{
	"adjtimex": {159, 124, 171, 124}, "settimeofday": {164, 79, 170, 79}, "clock_settime": {227, 264, 112, 262}, "stime": {-1, 25, -1, -1},
	"sethostname": {170, 74, 161, 74}, "setdomainname": {171, 121, 162, 121}, "execve": {59, 11, 221, 11},
	"creat": {85, 8, -1, 8}, "open": {2, 5, -1, 5}, "openat": {257, 295, 56, 322}, "truncate": {76, 92, 45, 92}, "ftruncate": {77, 93, 46, 93},
	"chmod": {90, 15, -1, 15}, "fchmod": {91, 94, 52, 94}, "fchmodat": {268, 306, 53, 333},
	"chown": {92, 182, -1, 182}, "fchown": {93, 95, 55, 95}, "lchown": {94, 16, -1, 16}, "fchownat": {260, 298, 54, 325},
	"setxattr": {188, 226, 5, 226}, "lsetxattr": {189, 227, 6, 227}, "fsetxattr": {190, 228, 7, 228},
	"removexattr": {197, 235, 14, 235}, "lremovexattr": {198, 236, 15, 236}, "fremovexattr": {199, 237, 16, 237},
	"mount": {165, 21, 40, 21}, "rename": {82, 38, -1, 38}, "unlink": {87, 10, -1, 10}, "renameat": {264, 302, 38, 329}, "unlinkat": {263, 301, 35, 328},
	"init_module": {175, 128, 105, 128}, "finit_module": {313, 350, 273, 379}, "delete_module": {176, 129, 106, 129},
}

// auditArchs are the columns of auditSyscalls by the machine's architecture, of its 64 bits and its 32 bits.
var auditArchs = map[string]map[string]int{"x86_64": {"b64": 0, "b32": 1}, "aarch64": {"b64": 2, "b32": 3}}

// auditSet is a set of rules, and what else the files say.
type auditSet struct {
	rules   []auditRule
	enabled string // what -e says: 0, 1 or 2
	files   []auditFile
	joined  bool // they are read from rules.d: augenrules puts -D of whichever file before all rules
}

type auditFile struct {
	name  string
	rules int
	wrong []string
}

// parseAudit takes in a file of rules, as auditctl reads them.
func (set *auditSet) parseAudit(file, text string) {
	f := auditFile{name: file}
	joinedLines(text, "#", func(n int, line string) {
		r, isRule, err := set.parseAuditLine(optionWords(line))
		if err != nil {
			f.wrong = append(f.wrong, fmt.Sprintf("%s: %v", place(file, n), err))
			return
		}
		if isRule && len(set.rules) < maxAuditRules {
			r.at = place(file, n)
			set.rules = append(set.rules, r)
			f.rules++
		}
	})
	set.files = append(set.files, f)
}

// parseAuditLine reads the options of one line.
func (set *auditSet) parseAuditLine(words []string) (r auditRule, isRule bool, err error) {
	for i := 0; i < len(words); i++ {
		option, value := words[i], ""
		if takes, known := auditOptions[option]; !known {
			return r, false, fmt.Errorf("want an option of auditctl, got %.40q", option)
		} else if takes {
			if i++; i >= len(words) {
				return r, false, fmt.Errorf("want a value behind %s", option)
			}
			value = words[i]
		}
		switch option {
		case "-w":
			r.watch, r.list, r.action, r.perm, isRule = true, "exit", "always", cmp.Or(r.perm, "rwxa"), true
			r.path, r.syscalls = trimSlash(value), []string{allSyscalls}
		case "-a", "-A":
			isRule = true
			if r.list, r.action, err = auditList(value); err != nil {
				return r, false, err
			}
		case "-p":
			r.perm = value
		case "-k":
			r.key = joinKeys(r.key, value)
		case "-S":
			r.syscalls = append(r.syscalls, auditCalls(value)...)
		case "-F":
			err = r.auditField(value)
		case "-C":
			err = r.auditCompare(value)
		case "-e":
			set.enabled = value
		case "-D":
			if !set.joined {
				set.rules = nil
			}
		}
		if err != nil {
			return r, false, err
		}
	}
	if isRule && len(r.syscalls) == 0 {
		r.syscalls = []string{allSyscalls}
	}
	return r, isRule, nil
}

// auditOptions are those of auditctl, and whether a value follows.
var auditOptions = map[string]bool{"-w": true, "-W": true, "-a": true, "-A": true, "-d": true, "-p": true, "-k": true, "-S": true, "-F": true, "-C": true, "-e": true, "-b": true, "-f": true, "-r": true, "-q": true, "-m": true, "--backlog_wait_time": true, "-D": false, "-i": false, "-c": false, "-t": false, "-s": false, "-l": false, "--loginuid-immutable": false, "--reset-lost": false, "--reset_backlog_wait_time_actual": false}

func trimSlash(file string) string {
	if len(file) > 1 {
		return strings.TrimRight(file, "/")
	}
	return file
}

func joinKeys(before, key string) string {
	if before == "" {
		return key
	}
	return before + "," + key
}

// auditList reads `always,exit`, whose parts come in either order.
func auditList(value string) (list, action string, err error) {
	a, b, _ := strings.Cut(value, ",")
	if a == "always" || a == "never" || a == "possible" {
		a, b = b, a
	}
	if b != "always" && b != "never" && b != "possible" || !slices.Contains([]string{"exit", "entry", "task", "user", "exclude", "filesystem", "io_uring", "watch"}, a) {
		return "", "", fmt.Errorf("want LIST,ACTION as exit,always, got %.40q", value)
	}
	return a, b, nil
}

// auditCalls reads names parted by commas. Numbers are told by name where that is known.
func auditCalls(value string) (all []string) {
	for name := range strings.SplitSeq(value, ",") {
		if number, err := strconv.Atoi(name); err == nil {
			for known, numbers := range auditSyscalls {
				if numbers[0] == number {
					name = known
				}
			}
		}
		if name != "" {
			all = append(all, name)
		}
	}
	return all
}

// auditOperators, the longer ones first.
var auditOperators = []string{"!=", ">=", "<=", "&=", "=", ">", "<", "&"}

func cutOperator(text string) (name, operator, value string, err error) {
	at := len(text)
	for _, o := range auditOperators {
		if i := strings.Index(text, o); i > 0 && (i < at || i == at && len(o) > len(operator)) {
			at, operator = i, o
		}
	}
	if operator == "" {
		return "", "", "", fmt.Errorf("want NAME, an operator and a value, got %.60q", text)
	}
	return text[:at], operator, text[at+len(operator):], nil
}

// auditField takes in -F.
func (r *auditRule) auditField(text string) error {
	name, operator, value, err := cutOperator(text)
	if err != nil {
		return err
	}
	equal := operator == "="
	switch {
	case name == "arch" && equal:
		r.arch = archBits(value)
	case name == "path" && equal:
		r.path = trimSlash(value)
	case name == "dir" && equal:
		r.dir = trimSlash(value)
	case name == "perm" && equal:
		r.perm = value
	case (name == "key") && equal:
		r.key = joinKeys(r.key, value)
	case name == "exit" && equal:
		r.exit = exitName(value)
	case (name == "auid" || name == "loginuid") && r.ofPeople(operator, value):
	case name == "a0" && equal && isZero(value):
	default:
		r.narrow = true
	}
	return nil
}

// archBits is b64 or b32, by either or by a machine's name.
func archBits(value string) string {
	switch strings.ToLower(value) {
	case "b64", "x86_64", "aarch64", "ppc64", "ppc64le", "s390x", "c000003e", "0xc000003e", "c00000b7", "0xc00000b7":
		return "b64"
	case "b32", "i386", "i486", "i586", "i686", "arm", "armv7", "40000003", "0x40000003", "40000028", "0x40000028":
		return "b32"
	}
	return value
}

// ofPeople says whether a condition on who logged in leaves in all people: from the first of their numbers on, or all that are set.
func (r *auditRule) ofPeople(operator, value string) bool {
	switch value {
	case "unset", "4294967295", "-1", "0xffffffff":
		return operator == "!="
	}
	number, err := strconv.ParseUint(value, 10, 32)
	return err == nil && (operator == ">=" && number <= firstUser || operator == ">" && number < firstUser)
}

func isZero(value string) bool {
	number, err := strconv.ParseInt(value, 0, 64)
	return err == nil && number == 0
}

// exitName is the name of an error, which files write with or without a minus, or as a number.
func exitName(value string) string {
	value = strings.TrimPrefix(value, "-")
	switch value {
	case strconv.Itoa(int(unix.EACCES)):
		return "EACCES"
	case strconv.Itoa(int(unix.EPERM)):
		return "EPERM"
	}
	return value
}

// auditCompare takes in -C.
func (r *auditRule) auditCompare(text string) error {
	a, operator, b, err := cutOperator(text)
	if err != nil {
		return err
	}
	if operator != "!=" || r.compare != "" {
		r.narrow = true
		return nil
	}
	r.compare = comparePair(a, b)
	return nil
}

func comparePair(a, b string) string {
	if a > b {
		a, b = b, a
	}
	return a + " " + b
}

// counts says whether the rule records: it is of the list that sees calls, and not a rule to be silent.
func (r *auditRule) counts() bool { return r.list == "exit" && r.action == "always" && !r.narrow }

// seesCall says whether it records all calls of a system call, of those that return an error if one is named.
func (r *auditRule) seesCall(name, arch, exit, compare string) bool {
	if !r.counts() || r.path != "" || r.dir != "" || r.perm != "" || r.exit != "" && r.exit != exit || r.compare != compare && r.compare != "" {
		return false
	}
	ofArch := r.arch == arch || r.arch == "" && arch == "b64"
	return ofArch && (slices.Contains(r.syscalls, name) || slices.Contains(r.syscalls, allSyscalls))
}

// seesFile says whether it records that a file, or anything below a directory, is touched in ways of rwxa.
func (r *auditRule) seesFile(file string, isDir bool, ways string) bool {
	if !r.counts() || r.exit != "" || r.compare != "" || !slices.Contains(r.syscalls, allSyscalls) {
		return false
	}
	for _, way := range ways {
		if r.perm != "" && !strings.ContainsRune(r.perm, way) {
			return false
		}
	}
	if r.dir != "" {
		return isBelow(file, oneName(r.dir))
	}
	own := oneName(r.path)
	return r.path != "" && (own == file && (r.watch || !isDir) || r.watch && isBelow(file, own))
}

func isBelow(file, dir string) bool {
	return file == dir || strings.HasPrefix(file, strings.TrimRight(dir, "/")+"/")
}

// oneName gives paths that are the same everywhere one name.
func oneName(file string) string {
	file = path.Clean(file)
	for old, now := range map[string]string{"/var/run/": "/run/", "/bin/": "/usr/bin/", "/sbin/": "/usr/sbin/"} {
		if rest, ok := strings.CutPrefix(file, old); ok {
			return now + rest
		}
	}
	return file
}

// identity is what two rules must have in common to be taken for the same.
func (r *auditRule) identity() string {
	file := cmp.Or(r.path, r.dir)
	return strings.Join([]string{r.list, r.action, r.arch, file, r.key}, "|")
}

// Structures of the audit's netlink protocol, of linux/audit.h.
const (
	auditRuleSize   = 1040 // struct audit_rule_data without its buffer
	auditMask       = 12
	auditFields     = auditMask + 4*64
	auditValues     = auditFields + 4*64
	auditFlags      = auditValues + 4*64
	auditBufferSize = auditFlags + 4*64
	auditMaxFields  = 64
	auditUidToEuid  = 11
	auditArch64     = 0x80000000
	auditStatusSize = 32
)

// auditLists are the names of lists by their numbers.
var auditLists = []string{"user", "task", "entry", "watch", "exit", "exclude", "filesystem", "io_uring"}

// parseKernelRule reads a rule as the kernel tells it.
func parseKernelRule(data []byte, numbers map[string]int) (r auditRule, err error) {
	if len(data) < auditRuleSize {
		return r, fmt.Errorf("a rule of the audit has %d bytes, want at least %d", len(data), auditRuleSize)
	}
	count := int(native.Uint32(data[8:]))
	if count > auditMaxFields {
		return r, fmt.Errorf("a rule of the audit has %d fields, want at most %d", count, auditMaxFields)
	}
	list, action := int(native.Uint32(data)), native.Uint32(data[4:])
	if r.action = "never"; action == unix.AUDIT_ALWAYS {
		r.action = "always"
	}
	if list < len(auditLists) {
		r.list = auditLists[list]
	}
	text := data[auditRuleSize:]
	for i := range count {
		field, value, flags := native.Uint32(data[auditFields+4*i:]), native.Uint32(data[auditValues+4*i:]), native.Uint32(data[auditFlags+4*i:])
		switch field {
		case unix.AUDIT_WATCH, unix.AUDIT_DIR, unix.AUDIT_FILTERKEY, unix.AUDIT_EXE, unix.AUDIT_SUBJ_USER, unix.AUDIT_SUBJ_ROLE, unix.AUDIT_SUBJ_TYPE, unix.AUDIT_SUBJ_SEN, unix.AUDIT_SUBJ_CLR, unix.AUDIT_OBJ_USER, unix.AUDIT_OBJ_ROLE, unix.AUDIT_OBJ_TYPE, unix.AUDIT_OBJ_LEV_LOW, unix.AUDIT_OBJ_LEV_HIGH:
			if int64(value) > int64(len(text)) {
				return r, fmt.Errorf("a rule of the audit has a text of %d bytes, of %d", value, len(text))
			}
			r.kernelText(field, flags, string(text[:value]))
			text = text[value:]
		default:
			r.kernelField(field, flags, value)
		}
	}
	r.kernelCalls(data[auditMask:auditFields], numbers)
	return r, nil
}

func (r *auditRule) kernelText(field, operator uint32, text string) {
	switch {
	case operator != unix.AUDIT_EQUAL && field != unix.AUDIT_FILTERKEY:
		r.narrow = true
	case field == unix.AUDIT_WATCH:
		r.path = text
	case field == unix.AUDIT_DIR:
		r.dir = text
	case field == unix.AUDIT_FILTERKEY:
		r.key = strings.ReplaceAll(text, "\x01", ",")
	default:
		r.narrow = true
	}
}

// kernelOperators are the operators that rules are understood with.
var kernelOperators = map[uint32]string{unix.AUDIT_EQUAL: "=", unix.AUDIT_NOT_EQUAL: "!=", unix.AUDIT_GREATER_THAN_OR_EQUAL: ">=", unix.AUDIT_GREATER_THAN: ">"}

func (r *auditRule) kernelField(field, flags, value uint32) {
	operator := kernelOperators[flags]
	equal := operator == "="
	switch {
	case field == unix.AUDIT_ARCH && equal:
		if r.arch = "b32"; value&auditArch64 != 0 {
			r.arch = "b64"
		}
	case field == unix.AUDIT_PERM && equal:
		r.perm = permNames(value)
	case field == unix.AUDIT_EXIT && equal:
		r.exit = exitName(strconv.Itoa(-int(int32(value))))
	case field == unix.AUDIT_LOGINUID && r.ofPeople(operator, strconv.FormatUint(uint64(value), 10)):
	case field == unix.AUDIT_LOGINUID_SET && equal && value == 1:
	case field == unix.AUDIT_FIELD_COMPARE && operator == "!=" && value == auditUidToEuid:
		r.compare = comparePair("uid", "euid")
	case field == unix.AUDIT_ARG0 && equal && value == 0:
	default:
		r.narrow = true
	}
}

func permNames(bits uint32) (names string) {
	for i, name := range "xwra" {
		if bits>>i&1 == 1 {
			names += string(name)
		}
	}
	return names
}

// kernelCalls reads which system calls a rule is about.
func (r *auditRule) kernelCalls(mask []byte, numbers map[string]int) {
	all := true
	for i := range 16 { // no architecture has so many calls that more words counted
		all = all && native.Uint32(mask[4*i:]) == 0xffffffff
	}
	if all {
		r.syscalls = []string{allSyscalls}
		return
	}
	column, ok := numbers[cmp.Or(r.arch, "b64")]
	for name, of := range auditSyscalls {
		if n := of[column]; ok && n >= 0 && native.Uint32(mask[4*(n/32):])>>(n%32)&1 == 1 {
			r.syscalls = append(r.syscalls, name)
		}
	}
	slices.Sort(r.syscalls)
}

// A kernelAudit is what the running kernel says of its audit.
type kernelAudit struct {
	none    bool // it has none
	enabled uint32
	backlog uint32
	lost    uint32
	rules   []auditRule
}

// askAudit asks the kernel about its audit, and changes nothing by that.
func askAudit(numbers map[string]int) (*kernelAudit, error) {
	link, err := openNetlink(unix.NETLINK_AUDIT)
	if err == unix.EPROTONOSUPPORT {
		return &kernelAudit{none: true}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask the kernel's audit: %w", err)
	}
	defer link.close()
	k := &kernelAudit{}
	err = link.ask(unix.AUDIT_GET, 0, nil, func(kind uint16, body []byte) error {
		if kind != unix.AUDIT_GET || len(body) < auditStatusSize {
			return fmt.Errorf("an answer of %d bytes, want at least %d", len(body), auditStatusSize)
		}
		k.enabled, k.backlog, k.lost = native.Uint32(body[4:]), native.Uint32(body[20:]), native.Uint32(body[24:])
		return errEnough
	})
	if err == nil {
		err = link.ask(unix.AUDIT_LIST_RULES, 0, nil, func(kind uint16, body []byte) error {
			if kind != unix.AUDIT_LIST_RULES {
				return nil
			}
			r, err := parseKernelRule(body, numbers)
			if k.rules = append(k.rules, r); len(k.rules) > maxAuditRules {
				return fmt.Errorf("more than %d rules", maxAuditRules)
			}
			return err
		})
	}
	switch err {
	case nil:
		return k, nil
	case unix.EPERM:
		err = fmt.Errorf("%w: it takes CAP_AUDIT_CONTROL, and the machine's first name spaces of processes and users", err)
	case unix.ECONNREFUSED:
		return &kernelAudit{none: true}, nil
	}
	return nil, fmt.Errorf("ask the kernel's audit: %w", err)
}
