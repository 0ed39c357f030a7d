package rules

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

var started = time.Now()

func at(r *Record) time.Time { return time.Unix(0, r.Time) }

func formatted(layout string, in func(time.Time) time.Time) func(*Record) (string, bool) {
	return func(r *Record) (string, bool) { return in(at(r)).Format(layout), true }
}

func utc(t time.Time) time.Time   { return t.UTC() }
func local(t time.Time) time.Time { return t.Local() }

// eventFields are of every event.
var eventFields = []field{
	unsignedNumber("evt.num", "Number of the event among those delivered, from 1.", expr.Uint64, func(r *Record) (uint64, bool) { return r.Num, true }),
	text("evt.time", "Time of the event with nanoseconds, local.", formatted("15:04:05.000000000", local)),
	text("evt.time.s", "Time of the event without nanoseconds, local.", formatted("15:04:05", local)),
	text("evt.time.iso8601", "Time of the event by ISO 8601, with nanoseconds and the offset of UTC.", formatted("2006-01-02T15:04:05.000000000-0700", utc)),
	text("evt.datetime", "Date and time of the event with nanoseconds, local.", formatted("2006-01-02 15:04:05.000000000", local)),
	text("evt.datetime.s", "Date and time of the event, local.", formatted("2006-01-02 15:04:05", local)),
	unsignedNumber("evt.rawtime", "Time of the event, nanoseconds since 1970.", expr.AbsoluteTime, func(r *Record) (uint64, bool) { return uint64(r.Time), true }),
	unsignedNumber("evt.rawtime.s", "Whole seconds of evt.rawtime.", expr.AbsoluteTime, func(r *Record) (uint64, bool) { return uint64(r.Time / 1e9), true }),
	unsignedNumber("evt.rawtime.ns", "Nanoseconds of evt.rawtime below a second.", expr.AbsoluteTime, func(r *Record) (uint64, bool) { return uint64(r.Time % 1e9), true }),
	unsignedNumber("evt.reltime", "Nanoseconds from the start of the agent to the event.", expr.RelativeTime, func(r *Record) (uint64, bool) { return sinceStart(r), true }),
	unsignedNumber("evt.reltime.s", "Whole seconds of evt.reltime.", expr.RelativeTime, func(r *Record) (uint64, bool) { return sinceStart(r) / 1e9, true }),
	unsignedNumber("evt.reltime.ns", "Nanoseconds of evt.reltime below a second.", expr.RelativeTime, func(r *Record) (uint64, bool) { return sinceStart(r) % 1e9, true }),
	absent("evt.pluginname", "Name of the plugin that made the event.", expr.String, 0),
	absent("evt.plugininfo", "What the plugin that made the event says of it.", expr.String, 0),
	text("evt.source", "Source of the event: syscall or fim.", func(r *Record) (string, bool) { return r.Type.Source(), true }),
	truth("evt.is_async", "Whether the event came out of order.", func(*Record) (bool, bool) { return false, true }),
	absent("evt.asynctype", "Kind of an event that came out of order.", expr.String, 0),
	text("evt.hostname", "Name of the machine.", func(*Record) (string, bool) { return hostname, hostname != "" }),
}

var hostname, _ = os.Hostname()

func sinceStart(r *Record) uint64 { return uint64(max(r.Time-started.UnixNano(), 0)) }

// printed makes of a field one that only outputs may name.
func printed(f field) field {
	f.Flags |= expr.PrintOnly
	return f
}

// callFields are of system calls, and of what stands for them.
var callFields = []field{
	absent("evt.latency", "Time between enter and exit.", expr.RelativeTime, expr.Deprecated),
	absent("evt.latency.s", "Whole seconds of evt.latency.", expr.RelativeTime, expr.Deprecated),
	absent("evt.latency.ns", "Nanoseconds of evt.latency below a second.", expr.RelativeTime, expr.Deprecated),
	absent("evt.latency.quantized", "Logarithm of evt.latency.", expr.Uint64, expr.Deprecated|expr.PrintOnly),
	absent("evt.latency.human", "evt.latency for people.", expr.String, expr.Deprecated),
	unsignedNumber("evt.deltatime", "Nanoseconds since the event before, of those delivered.", expr.RelativeTime, func(r *Record) (uint64, bool) { return uint64(r.delta), true }),
	unsignedNumber("evt.deltatime.s", "Whole seconds of evt.deltatime.", expr.RelativeTime, func(r *Record) (uint64, bool) { return uint64(r.delta / 1e9), true }),
	unsignedNumber("evt.deltatime.ns", "Nanoseconds of evt.deltatime below a second.", expr.RelativeTime, func(r *Record) (uint64, bool) { return uint64(r.delta % 1e9), true }),
	{Name: "evt.outputtime", Doc: "Time of the event as the outputs are configured to write it.", Kind: expr.String, Flags: expr.PrintOnly, Text: func(r *Record, _ arg) (string, bool) {
		return at(r).Local().Format("15:04:05.000000000"), true
	}},
	{Name: "evt.dir", Doc: "Direction: always <, since events are told when the call returns.", Kind: expr.String, Flags: expr.Deprecated, Text: func(*Record, arg) (string, bool) { return "<", true }},
	text("evt.type", "Name of the event: of the system call.", func(r *Record) (string, bool) { return r.Type.String(), r.isCall() }),
	{Name: "evt.type.is", Doc: "1 if the event is of the type in the brackets, else 0.", Kind: expr.Uint32, Arity: expr.RequiredArg, Check: knownType, Uint: func(r *Record, a arg) (uint64, bool) {
		if r.Type.String() == a.Text {
			return 1, true
		}
		return 0, true
	}},
	text("syscall.type", "Name of the system call, absent if the event is none.", func(r *Record) (string, bool) { return r.Type.String(), r.isCall() && r.Kind != event.Exit }),
	text("evt.category", "Category of the event: file, net, process, memory, ipc, user, signal, …; of reading and writing that of the descriptor.", (*Record).category),
	signedNumber("evt.cpu", "Number of the CPU.", expr.Int16, func(r *Record) (int64, bool) { return int64(r.CPU), true }),
	text("evt.args", "All parameters, as name=value(meaning).", (*Record).allArgs),
	{Name: "evt.arg", Doc: "One parameter by name or number, in the form that says what it means: names of flags, the path behind a descriptor.", Kind: expr.String, Arity: expr.RequiredArg, Text: func(r *Record, a arg) (string, bool) {
		p := parameter(r, a)
		if p == nil {
			return "", false
		}
		var ok bool
		b := r.room()
		*b, ok = r.appendArg(*b, p)
		return view(*b), ok
	}},
	{Name: "evt.rawarg", Doc: "One parameter by name, as it stands. Written evt.rawarg.NAME it has the type of that parameter, so that numbers can be compared.", Kind: expr.String, Arity: expr.RequiredArg, Flags: expr.NoRHS | expr.NoTransformer, Text: (*Record).rawArg},
	text("evt.info", "What evt.args says.", (*Record).allArgs),
	{Name: "evt.buffer", Doc: "The head of what was read or written.", Kind: expr.Bytes, Bytes: func(r *Record, _ arg) ([]byte, bool) { return r.Call.Data, len(r.Call.Data) > 0 }},
	unsignedNumber("evt.buflen", "Bytes that were read or written.", expr.Uint64, moved(inOut, anything)),
	text("evt.res", "SUCCESS, or the name of the error.", func(r *Record) (string, bool) { return event.ErrorName(r.result()), r.isCall() && r.Kind != event.Exit }),
	signedNumber("evt.rawres", "What the call returned; negative is an error.", expr.Int64, func(r *Record) (int64, bool) { return r.result(), r.isCall() && r.Kind != event.Exit }),
	truth("evt.failed", "Whether the call returned an error.", func(r *Record) (bool, bool) { return r.result() < 0, r.isCall() }),
	truth("evt.is_io", "Whether the call reads or writes.", func(r *Record) (bool, bool) { return reads.has(r.Type) || writes.has(r.Type), r.isCall() }),
	truth("evt.is_io_read", "Whether the call reads.", func(r *Record) (bool, bool) { return reads.has(r.Type), r.isCall() }),
	truth("evt.is_io_write", "Whether the call writes.", func(r *Record) (bool, bool) { return writes.has(r.Type), r.isCall() }),
	text("evt.io_dir", "r for calls that read, w for calls that write.", func(r *Record) (string, bool) {
		if reads.has(r.Type) {
			return "r", true
		}
		return "w", writes.has(r.Type)
	}),
	truth("evt.is_wait", "Whether the call waits.", func(r *Record) (bool, bool) { return waits.has(r.Type), r.isCall() }),
	absent("evt.wait_latency", "Time that a waiting call took.", expr.RelativeTime, expr.Deprecated),
	truth("evt.is_syslog", "Whether the call writes to /dev/log.", func(r *Record) (bool, bool) {
		return writes.has(r.Type) && strings.Contains(view(r.FD.Name), "/dev/log"), r.isCall()
	}),
	count("evt.count", "1 for every event.", func(*Record) bool { return true }),
	count("evt.count.error", "1 for events that returned an error.", func(r *Record) bool { return r.result() < 0 }),
	count("evt.count.error.file", "1 for errors on files.", func(r *Record) bool { return r.result() < 0 && r.isOf("file") }),
	count("evt.count.error.net", "1 for errors on the network.", func(r *Record) bool { return r.result() < 0 && r.isOf("net") }),
	count("evt.count.error.memory", "1 for errors on memory.", func(r *Record) bool { return r.result() < 0 && r.isOf("memory") }),
	count("evt.count.error.other", "1 for other errors.", func(r *Record) bool {
		return r.result() < 0 && !r.isOf("file") && !r.isOf("net") && !r.isOf("memory")
	}),
	count("evt.count.exit", "1 for every event, which are told when the call returns.", func(*Record) bool { return true }),
	absent("evt.count.procinfo", "1 for events of processes' use.", expr.Uint32, expr.PrintOnly),
	absent("evt.count.threadinfo", "1 for events of threads' use.", expr.Uint32, expr.PrintOnly),
	{Name: "evt.abspath", Doc: "Path of a call that names a directory to start from, made absolute and cleaned; with src or dst one of two.", Kind: expr.String, Arity: expr.OptionalArg,
		Check: func(a arg) error {
			if !slices.Contains([]string{"src", "dst", "1", "2"}, a.Text) {
				return fmt.Errorf("want src or dst")
			}
			return nil
		},
		Text: func(r *Record, a arg) (string, bool) {
			return r.absolutePath(a.Text == "dst" || a.Text == "2")
		}},
	printed(unsignedNumber("evt.buflen.in", "Bytes read.", expr.Uint64, moved(in, anything))),
	printed(unsignedNumber("evt.buflen.out", "Bytes written.", expr.Uint64, moved(out, anything))),
	printed(unsignedNumber("evt.buflen.file", "Bytes read or written in files.", expr.Uint64, moved(inOut, files))),
	printed(unsignedNumber("evt.buflen.file.in", "Bytes read from files.", expr.Uint64, moved(in, files))),
	printed(unsignedNumber("evt.buflen.file.out", "Bytes written to files.", expr.Uint64, moved(out, files))),
	printed(unsignedNumber("evt.buflen.net", "Bytes received or sent.", expr.Uint64, moved(inOut, network))),
	printed(unsignedNumber("evt.buflen.net.in", "Bytes received.", expr.Uint64, moved(in, network))),
	printed(unsignedNumber("evt.buflen.net.out", "Bytes sent.", expr.Uint64, moved(out, network))),
	truth("evt.is_open_read", "Whether the event opens a file for reading.", opened(event.OpenRead)),
	truth("evt.is_open_write", "Whether the event opens a file for writing.", opened(event.OpenWrite)),
	absent("evt.infra.docker.name", "Name of an event of Docker.", expr.String, expr.PrintOnly),
	absent("evt.infra.docker.container.id", "Container of an event of Docker.", expr.String, expr.PrintOnly),
	absent("evt.infra.docker.container.name", "Container's name of an event of Docker.", expr.String, expr.PrintOnly),
	absent("evt.infra.docker.container.image", "Container's image of an event of Docker.", expr.String, expr.PrintOnly),
	truth("evt.is_open_exec", "Whether the event is an open that asks for an executable file to be made.", opened(event.OpenExec)),
	truth("evt.is_open_create", "Whether the event is an open that made the file.", opened(event.OpenCreated)),
	{Name: "util.cnt", Doc: "Counts up.", Kind: expr.Uint64, Flags: expr.Hidden, Uint: func(r *Record, _ arg) (uint64, bool) { return r.Num, true }},
}

func knownType(a arg) error { return checkType(event.SyscallSource, a.Text) }

func count(name, doc string, which func(*Record) bool) field {
	return unsignedNumber(name, doc, expr.Uint32, func(r *Record) (uint64, bool) { return 1, which(r) })
}
