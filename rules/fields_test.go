package rules

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

var update = flag.Bool("update", false, "write golden files anew")

// specifiedFields is every field of the specification by class, with its type: [arg] behind those that have an argument, † for
// those of outputs, ‡ for deprecated ones.
var specifiedFields = []struct{ class, fields string }{
	{"evt (All event types)", `
		evt.num:uint64 evt.time:charbuf evt.time.s:charbuf evt.time.iso8601:charbuf evt.datetime:charbuf
		evt.datetime.s:charbuf evt.rawtime:abstime evt.rawtime.s:abstime evt.rawtime.ns:abstime evt.reltime:reltime
		evt.reltime.s:reltime evt.reltime.ns:reltime evt.pluginname:charbuf evt.plugininfo:charbuf evt.source:charbuf
		evt.is_async:bool evt.asynctype:charbuf evt.hostname:charbuf
	`},
	{"evt (Syscall events only)", `
		evt.latency:reltime‡ evt.latency.s:reltime‡ evt.latency.ns:reltime‡ evt.latency.quantized:uint64†‡
		evt.latency.human:charbuf‡ evt.deltatime:reltime evt.deltatime.s:reltime evt.deltatime.ns:reltime
		evt.outputtime:charbuf† evt.dir:charbuf‡ evt.type:charbuf evt.type.is[arg]:uint32 syscall.type:charbuf
		evt.category:charbuf evt.cpu:int16 evt.args:charbuf evt.arg[arg]:charbuf evt.rawarg[arg]:dyn evt.info:charbuf
		evt.buffer:bytebuf evt.buflen:uint64 evt.res:charbuf evt.rawres:int64 evt.failed:bool evt.is_io:bool
		evt.is_io_read:bool evt.is_io_write:bool evt.io_dir:charbuf evt.is_wait:bool evt.wait_latency:reltime‡
		evt.is_syslog:bool evt.count:uint32 evt.count.error:uint32 evt.count.error.file:uint32
		evt.count.error.net:uint32 evt.count.error.memory:uint32 evt.count.error.other:uint32 evt.count.exit:uint32
		evt.count.procinfo:uint32† evt.count.threadinfo:uint32† evt.abspath[arg]:charbuf evt.buflen.in:uint64†
		evt.buflen.out:uint64† evt.buflen.file:uint64† evt.buflen.file.in:uint64† evt.buflen.file.out:uint64†
		evt.buflen.net:uint64† evt.buflen.net.in:uint64† evt.buflen.net.out:uint64† evt.is_open_read:bool
		evt.is_open_write:bool evt.infra.docker.name:charbuf† evt.infra.docker.container.id:charbuf†
		evt.infra.docker.container.name:charbuf† evt.infra.docker.container.image:charbuf† evt.is_open_exec:bool
		evt.is_open_create:bool
	`},
	{"process", `
		proc.exe:charbuf proc.pexe:charbuf proc.aexe[arg]:charbuf proc.exepath:charbuf proc.pexepath:charbuf
		proc.aexepath[arg]:charbuf proc.name:charbuf proc.pname:charbuf proc.aname[arg]:charbuf proc.args[arg]:charbuf
		proc.aargs[arg]:charbuf proc.cmdline:charbuf proc.pcmdline:charbuf proc.acmdline[arg]:charbuf
		proc.cmdnargs:uint64 proc.cmdlenargs:uint64 proc.exeline:charbuf proc.env[arg]:charbuf proc.aenv[arg]:charbuf
		proc.cwd:charbuf proc.loginshellid:int64 proc.tty:uint32 proc.pid:int64 proc.ppid:int64 proc.apid[arg]:int64
		proc.vpid:int64 proc.pvpid:int64 proc.sid:int64 proc.sname:charbuf proc.sid.exe:charbuf
		proc.sid.exepath:charbuf proc.vpgid:int64 proc.vpgid.name:charbuf proc.vpgid.exe:charbuf
		proc.vpgid.exepath:charbuf proc.pgid:int64 proc.pgid.name:charbuf proc.pgid.exe:charbuf
		proc.pgid.exepath:charbuf proc.duration:reltime proc.ppid.duration:reltime proc.pid.ts:reltime
		proc.ppid.ts:reltime proc.is_exe_writable:bool proc.is_exe_upper_layer:bool proc.is_exe_lower_layer:bool
		proc.is_exe_from_memfd:bool proc.is_sid_leader:bool proc.is_vpgid_leader:bool proc.is_pgid_leader:bool
		proc.exe_ino:int64 proc.exe_ino.ctime:abstime proc.exe_ino.mtime:abstime
		proc.exe_ino.ctime_duration_proc_start:abstime proc.exe_ino.ctime_duration_pidns_start:abstime
		proc.pidns_init_start_ts:uint64 thread.cap_permitted:charbuf thread.cap_inheritable:charbuf
		thread.cap_effective:charbuf proc.fdopencount:uint64 proc.fdlimit:int64 proc.fdusage:double proc.vmsize:uint64
		proc.vmrss:uint64 proc.vmswap:uint64 thread.pfmajor:uint64 thread.pfminor:uint64 thread.tid:int64
		thread.ismain:bool thread.vtid:int64 thread.nametid:charbuf† thread.exectime:reltime
		thread.totexectime:reltime thread.cgroups:charbuf thread.cgroup[arg]:charbuf proc.nthreads:uint64
		proc.nchilds:uint64 thread.cpu:double thread.cpu.user:double thread.cpu.system:double thread.vmsize:uint64
		thread.vmrss:uint64 thread.vmsize.b:uint64† thread.vmrss.b:uint64† proc.stdin.type:charbuf
		proc.stdout.type:charbuf proc.stderr.type:charbuf proc.stdin.name:charbuf proc.stdout.name:charbuf
		proc.stderr.name:charbuf
	`},
	{"user", `
		user.uid:uint32 user.name:charbuf user.homedir:charbuf user.shell:charbuf user.loginuid:int64
		user.loginname:charbuf
	`},
	{"group", `
		group.gid:uint32 group.name:charbuf
	`},
	{"fd", `
		fd.num:int64 fd.type:charbuf fd.typechar:charbuf fd.name:charbuf fd.directory:charbuf fd.filename:charbuf
		fd.ip:ipaddr fd.cip:ipaddr fd.sip:ipaddr fd.lip:ipaddr fd.rip:ipaddr fd.port:port fd.cport:port fd.sport:port
		fd.lport:port fd.rport:port fd.l4proto:charbuf fd.sockfamily:charbuf fd.is_server:bool fd.uid:charbuf
		fd.containername:charbuf fd.containerdirectory:charbuf fd.proto:port fd.cproto:charbuf fd.sproto:charbuf
		fd.lproto:charbuf fd.rproto:charbuf fd.net:ipnet fd.cnet:ipnet fd.snet:ipnet fd.lnet:ipnet fd.rnet:ipnet
		fd.connected:bool fd.name_changed:bool fd.cip.name:charbuf fd.sip.name:charbuf fd.lip.name:charbuf
		fd.rip.name:charbuf fd.dev:int32 fd.dev.major:int32 fd.dev.minor:int32 fd.ino:int64 fd.nameraw:charbuf
		fd.types[arg]:charbuf fd.is_upper_layer:bool fd.is_lower_layer:bool
	`},
	{"fs.path", `
		fs.path.name:charbuf fs.path.nameraw:charbuf fs.path.source:charbuf fs.path.sourceraw:charbuf
		fs.path.target:charbuf fs.path.targetraw:charbuf
	`},
	{"util (hidden)", `
		util.cnt:uint64
	`},
	{"fdlist", `
		fdlist.nums:charbuf fdlist.names:charbuf fdlist.cips:charbuf fdlist.sips:charbuf fdlist.cports:charbuf
		fdlist.sports:charbuf
	`},
	{"container plugin", `
		container.id:string container.full_id:string container.name:string container.image:string
		container.image.id:string container.type:string container.privileged:bool container.mounts:string
		container.mount:string container.mount.source:string container.mount.dest:string container.mount.mode:string
		container.mount.rdwr:string container.mount.propagation:string container.image.repository:string
		container.image.tag:string container.image.digest:string container.healthcheck:string
		container.liveness_probe:string container.readiness_probe:string container.start_ts:abstime
		container.duration:reltime container.ip:string container.cni.json:string container.host_pid:bool
		container.host_network:bool container.host_ipc:bool container.label:string container.labels:string
		proc.is_container_healthcheck:bool proc.is_container_liveness_probe:bool
		proc.is_container_readiness_probe:bool k8s.pod.name:string k8s.ns.name:string k8s.pod.id:string
		k8s.pod.uid:string k8s.pod.sandbox_id:string k8s.pod.full_sandbox_id:string k8s.pod.label:string
		k8s.pod.labels:string k8s.pod.ip:string k8s.pod.cni.json:string k8s.rc.name:string k8s.rc.id:string
		k8s.rc.label:string k8s.rc.labels:string k8s.svc.name:string k8s.svc.id:string k8s.svc.label:string
		k8s.svc.labels:string k8s.ns.id:string k8s.ns.label:string k8s.ns.labels:string k8s.rs.name:string
		k8s.rs.id:string k8s.rs.label:string k8s.rs.labels:string k8s.deployment.name:string k8s.deployment.id:string
		k8s.deployment.label:string k8s.deployment.labels:string
	`},
}

// specified reads one entry of the list.
func specified(entry string) (name, kind string, flags expr.Flags, arg bool) {
	name, kind, _ = strings.Cut(entry, ":")
	name, arg = strings.CutSuffix(name, "[arg]")
	if strings.Contains(kind, "†") {
		flags |= expr.PrintOnly
	}
	if strings.Contains(kind, "‡") {
		flags |= expr.Deprecated
	}
	return name, strings.Trim(kind, "†‡"), flags, arg
}

var kindOf = map[string]expr.Kind{"charbuf": expr.String, "string": expr.String, "bytebuf": expr.Bytes, "bool": expr.Bool,
	"int16": expr.Int16, "int32": expr.Int32, "int64": expr.Int64, "uint32": expr.Uint32, "uint64": expr.Uint64,
	"double": expr.Double, "port": expr.Port, "reltime": expr.RelativeTime, "abstime": expr.AbsoluteTime,
	"ipaddr": expr.IPAddr, "ipnet": expr.IPNet, "dyn": expr.String}

// takesArgument are fields of the container plugin, whose list does not say so.
var takesArgument = setOf(`container.mount container.mount.source container.mount.dest container.mount.mode
container.mount.rdwr container.mount.propagation container.label k8s.pod.label k8s.rc.label k8s.svc.label k8s.ns.label
k8s.rs.label k8s.deployment.label`)

func TestFieldsAreThoseOfTheSpecification(t *testing.T) {
	t.Parallel()
	own := map[string]field{}
	for _, f := range Fields(event.SyscallSource) {
		if _, twice := own[f.Name]; twice {
			t.Errorf("field %s is in the table twice", f.Name)
		}
		own[f.Name] = f
	}
	n := 0
	for _, class := range specifiedFields {
		for entry := range strings.FieldsSeq(class.fields) {
			n++
			name, kind, flags, arg := specified(entry)
			f, ok := own[name]
			if !ok {
				t.Errorf("%s: field %s is missing", class.class, name)
				continue
			}
			if f.Kind != kindOf[kind] {
				t.Errorf("field %s is of type %v, want %s", name, f.Kind, kind)
			}
			if got := f.Flags & (expr.PrintOnly | expr.Deprecated); got != flags {
				t.Errorf("field %s: for outputs or deprecated: flags %b, want %b", name, got, flags)
			}
			if got, want := f.Arity != expr.NoArg, arg || takesArgument[name]; got != want {
				t.Errorf("field %s takes an argument: %v, want %v", name, got, want)
			}
			delete(own, name)
		}
	}
	if want := 232 + 61; n != want {
		t.Errorf("the list has %d fields, want %d", n, want)
	}
	for name, f := range own {
		if !strings.HasPrefix(name, "yagura.") && f.Flags&expr.Hidden == 0 {
			t.Errorf("field %s is in no specification and not called ours", name)
		}
	}
}

// restricted is what the specification says may not stand on the right or be transformed, has two sides, or several values.
var restricted = []struct {
	fields string
	flags  expr.Flags
}{
	{"fd.ip fd.net fd.port fd.proto", expr.NoRHS | expr.NoTransformer | expr.TwoSided},
	{"fd.cip.name fd.sip.name fd.lip.name fd.rip.name", expr.NoRHS | expr.NoTransformer | expr.Resolved},
	{"proc.aname proc.aexe proc.aexepath proc.acmdline proc.aargs proc.apid proc.aenv", expr.NoRHS | expr.NoTransformer | expr.AnyOf},
	{"evt.rawarg", expr.NoRHS | expr.NoTransformer},
	{"fd.types", expr.ListValued},
	{"util.cnt", expr.Hidden},
}

func TestFieldsAreRestrictedAsTheSpecificationSays(t *testing.T) {
	t.Parallel()
	const looked = expr.NoRHS | expr.NoTransformer | expr.TwoSided | expr.Resolved | expr.AnyOf | expr.ListValued | expr.Hidden
	want := map[string]expr.Flags{}
	for _, r := range restricted {
		for name := range strings.FieldsSeq(r.fields) {
			want[name] = r.flags
		}
	}
	for _, f := range Fields(event.SyscallSource) {
		if strings.HasPrefix(f.Name, "evt.rawarg.") {
			continue
		}
		if got := f.Flags & looked; got != want[f.Name] {
			t.Errorf("field %s has flags %b, want %b", f.Name, got, want[f.Name])
		}
	}
}

// readers counts which readers of a field are set, and whether its kind has one.
func readers(f field) (n int, fits bool) {
	for _, r := range []struct {
		set   bool
		kinds string
	}{
		{f.Text != nil, "string path"}, {f.Texts != nil, "string path"}, {f.Bytes != nil, "bytes"}, {f.Bool != nil, "bool"},
		{f.Int != nil, "int16 int32 int64"}, {f.Ints != nil, "int16 int32 int64"},
		{f.Uint != nil, "uint8 uint16 uint32 uint64 port reltime abstime"}, {f.Uints != nil, "uint8 uint16 uint32 uint64 port"},
		{f.Float != nil, "double"}, {f.Addr != nil, "ipaddr ipnet"}, {f.Addrs != nil, "ipaddr ipnet"},
	} {
		if r.set {
			n++
			fits = fits || strings.Contains(" "+r.kinds+" ", " "+f.Kind.String()+" ")
		}
	}
	return n, fits || f.Flags&expr.Resolved != 0 && f.Addr != nil
}

func TestFieldsCanBeReadAndSayWhatTheyAre(t *testing.T) {
	t.Parallel()
	for _, f := range slices.Concat(Fields(event.SyscallSource), Fields(event.ChangeSource)) {
		n, fits := readers(f)
		if want := 1; f.Flags&expr.AnyOf == 0 && n != want || f.Flags&expr.AnyOf != 0 && n != 2 || !fits {
			t.Errorf("field %s of type %v has %d readers, of its type: %v", f.Name, f.Kind, n, fits)
		}
		if !strings.HasSuffix(f.Doc, ".") || strings.ToUpper(f.Doc[:1]) != f.Doc[:1] && !strings.Contains(strings.Fields(f.Doc)[0], ".") && f.Doc[0] > '9' {
			if !strings.HasPrefix(f.Doc, "r for") {
				t.Errorf("field %s: %q is no sentence", f.Name, f.Doc)
			}
		}
	}
}

func TestReferenceOfFieldsIsCurrent(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := WriteFields(&b, true); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("FIELDS.md", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("FIELDS.md")
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Error("FIELDS.md is not what the table of fields gives; run go test ./rules -run TestReferenceOfFieldsIsCurrent -update")
	}
}

func TestTableOfFieldsForTerminals(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := WriteFields(&b, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"evt: every event\n",
		"\n\nfd: the descriptor that a call makes or uses\n",
		"\n  evt.num                                    uint64   Number of the event among those delivered, from 1.\n",
		"\n  evt.arg[ARG]                               string ",
		"\n  proc.aname[[ARG]]                          string ",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table has no %q", want)
		}
	}
	if strings.Contains(b.String(), "util.cnt") || strings.Contains(b.String(), "evt.rawarg.fd") {
		t.Error("the table has fields that are not to be specifiedFields")
	}
}

func TestEventTypesThatFieldsNameExist(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]struct {
		types typeSet
		n     int
	}{"reads": {reads, 9}, "writes": {writes, 10}, "waits": {waits, 10}, "onePath": {onePath, 20}, "twoPaths": {twoPaths, 8},
		"symlinks": {symlinks, 2}, "descriptive": {descriptive, 7}} {
		n := 0
		for _, is := range set.types {
			if is {
				n++
			}
		}
		if n != set.n {
			t.Errorf("%s: %d of its names are event types, want %d", name, n, set.n)
		}
	}
}
