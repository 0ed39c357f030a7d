package expr

import "testing"

func TestRightSideMustHaveTheSameType(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"proc.name = val(proc.exe)", "proc.name = val(fd.name)", "user.uid = val(user.uid)", "evt.rawres = val(proc.pid)",
		"evt.num = len(proc.name)", "fd.sip = val(fd.cip)", "evt.failed = val(evt.is_io)", "evt.buffer = val(evt.buffer)", "fd.sport = val(fd.lport)",
		"proc.aname = val(proc.name)", "proc.apid[1] = val(proc.pid)", "proc.name in val(fd.types)"} {
		if err := problem(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"proc.name = val(user.uid)", "user.uid = val(evt.num)", "evt.rawres = val(user.uid)", "evt.cpu = val(proc.pid)",
		"fd.sport = val(proc.short)", "fd.snet = val(fd.sip)", "proc.duration = val(evt.rawtime)", "evt.buffer = val(proc.name)", "evt.num = val(evt.failed)",
		"user.uid = len(proc.name)", "proc.name = len(proc.name)", "list.numbers in val(fd.types)",
		"proc.name = val(proc.secret)", "proc.name = val(proc.aname)", "proc.name = val(proc.aname[1])", "proc.pid = val(proc.apid)",
		"fd.sip = val(fd.ip)", "fd.sport = val(fd.port)", "proc.name = val(fd.sip.name)", "fd.sip.name = val(proc.name)", "proc.name = val(evt.table)",
		"tolower(proc.secret) = a", "tolower(proc.aname[1]) = a", "len(proc.aname) = 1", "tolower(fd.sip.name) = a", "tolower(user.uid) = a",
		"concat(proc.name, user.uid) = a", "len(user.uid) = 1", "basename(evt.buffer) = a", "b64(fd.types) = a", "proc.name = val(no.such)"} {
		if problem(bad) == nil {
			t.Errorf("%s: want an error", bad)
		}
	}
}

func TestTransformers(t *testing.T) {
	t.Parallel()
	f := truths(t, cat())
	f("toupper(proc.name) = CAT and tolower(toupper(proc.name)) = cat and toupper(cat) = CAT", true)
	f("tolower(fd.name) startswith /etc and toupper(fd.name) contains SHADOW", true)
	f("basename(fd.name) = shadow and basename(proc.name) = cat and basename(/) = \"\" and basename(/a/) = \"\" and basename(\"\") = \"\"", true)
	f("len(proc.name) = 3 and len(fd.types) = 2 and len(evt.buffer) > 7 and len(abc) = 3 and len((a, b)) = 2 and len(()) = 0", true)
	f("b64(\"aGk=\") = hi and b64(aGk) = hi and b64(\"\") = \"\"", true)
	f("b64(proc.cmdline) exists or b64(a) exists or b64(\"aGk==\") exists", false)
	f("concat(proc.name, -, proc.exe) = cat-cat and concat(a, b, c) = abc", true)
	f(`join(",", fd.types) = "file,ipv4" and join("-", (a, b)) = a-b and join(x, ()) = ""`, true)
	f("proc.cmdline = join(\" \", (cat, /etc/shadow))", true)
	f(`concat(proc.name, " ", fd.name) = val(proc.cmdline)`, true)
	f("proc.cmdline contains basename(fd.name) and proc.name = tolower(proc.exe)", true)
	f("proc.name = toupper(proc.exe)", false)
	f(`getopt(proc.args, "co:")[o] intersects (out) and getopt(proc.args, "co:") in (c, o) and getopt(proc.args, "co:")[c] exists`, true)
	f(`getopt(proc.args, "co:")[x] exists or getopt(proc.args, "x") exists`, false)
	f(`len(getopt(proc.args, x)) = 0`, true)
	for _, bad := range []string{"tolower(proc.name, a) = a", "concat(a) = a", "join(a) = a", "join(a, proc.name) = a", "join(fd.types, fd.types) = a",
		"len(proc.name)[1] = 1", "getopt(proc.args) exists", "getopt(proc.name, a) exists", "getopt(proc.args, proc.name) exists",
		"getopt(proc.args, a)[ab] exists", "tolower(fd.types) = a", "tolower() = a", "concat(fd.types, a) = b", "concat(a, (b)) = ab"} {
		if problem(bad) == nil {
			t.Errorf("%s: want an error", bad)
		}
	}
}

func TestGetopt(t *testing.T) {
	t.Parallel()
	f := func(letters, option string, args []any, want string) {
		t.Helper()
		truths(t, &record{"proc.args": args})(`join(",", getopt(proc.args, "`+letters+`")`+option+`) = "`+want+`"`, true)
	}
	f("ab:c", "", values("-a", "-b", "x", "-c"), "a,b,c")
	f("ab:c", "", values("-acb", "x"), "a,c,b")
	f("ab:c", "[b]", values("-abx", "-b", "y", "-bz"), "x,y,z")
	f("ab:c", "[b]", values("-b"), "")
	f("ab:c", "", values("word", "-a", "word", "-c"), "a,c")
	f("ab:c", "", values("-a", "--", "-c"), "a")
	f("ab:c", "", values("--all", "-", "-x"), "")
	f("ab:c", "[a]", values("-a", "x"), "")
}
