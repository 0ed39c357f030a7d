package exporter

import (
	"encoding/binary"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"

	"github.com/yagura-io/yagura/rules/event"
)

// other is the label value that stands for all that has no place of its own.
const other = "other"

// maxLabelBytes is where a label value is cut.
const maxLabelBytes = 256

var workloadLabels = []string{"namespace", "pod", "container", "unit"}

// labelsOf are the workload labels by their names.
func labelsOf(w event.Workload) map[string]string {
	return map[string]string{"namespace": w.Namespace, "pod": w.Pod, "container": w.Container, "unit": w.Unit}
}

// units are the endings of names that say in what a metric is measured.
var units = []string{"seconds", "bytes", "ratio", "celsius", "volts", "amperes", "joules", "hertz", "meters", "grams"}

// notAdditive are the endings of names whose values mean nothing when added up.
var notAdditive = []string{"_info", "_ratio", "_timestamp_seconds", "_celsius", "_volts", "_hertz"}

// A labelDoc is what the reference says of a label.
type labelDoc struct {
	meaning string
	few     bool // its values are enumerated by the kernel or by us, so they may be kept when workloads are folded
}

// labelDocs is the one table of label names.
var labelDocs = map[string]labelDoc{
	"namespace":       {"Kubernetes namespace of the workload; empty outside of Kubernetes", false},
	"pod":             {"Kubernetes pod of the workload; empty outside of Kubernetes", false},
	"container":       {"container of the workload, as its runtime names it; empty on the host; `other` for all that is beyond a cap", false},
	"unit":            {"systemd service or scope of the host; empty in containers", false},
	"cis":             {"items of CIS benchmarks that the rule is about, joined by commas", false},
	"maturity":        {"how well tried the rule is: `stable`, `incubating` or `sandbox`", true},
	"mitre_tactic":    {"tactics of MITRE ATT&CK that the rule is about, joined by commas", false},
	"mitre_technique": {"ids of techniques of MITRE ATT&CK, joined by commas", false},
	"nist":            {"sections of NIST SP 800-190 that the rule is about, joined by commas", false},
	"output":          {"where alerts go: `stdout`, `file`, `syslog`, `http`", true},
	"pci":             {"requirements of PCI DSS that the rule is about, joined by commas", false},
	"actor":           {"who changed the file: `package` manager, whoever in a `maintenance` window or named as an actor, container `runtime`, other `user`, or `unknown`", true},
	"expected":        {"whether a package, a maintenance window or an actor accounts for the change: `true` or `false`", true},
	"check":           {"id of the posture check", true},
	"control":         {"number of the framework's control that the check is evidence for", true},
	"fact":            {"kind of the fact, such as `sysctl`", true},
	"field":           {"what is known of the fact's subject", true},
	"subject":         {"what the fact is about, such as a parameter of the kernel", false},
	"value":           {"the text that is so", false},
	"framework":       {"standard with numbered controls, such as `cis_debian_12`", true},
	"severity":        {"how bad it is if the check fails: `critical`, `high`, `medium` or `low`", true},
	"status":          {"why the check was not assessed: `error`, `manual` or `not_applicable`", true},
	"survey":          {"name of what reads facts of the machine", true},
	"watch":           {"name of the watch set", true},
	"branch":          {"source branch of the build", true},
	"cause":           {"why it happened", true},
	"client":          {"who asks: namespace/pod/container, container or unit of this node, else what is known of the peer: service, DNS name, network", false},
	"code":            {"numeric code of the outcome", true},
	"collector":       {"name of the collector, as in `--collector.NAME`", true},
	"container_id":    {"full id that the runtime gave the container", false},
	"cpu":             {"number of the processor", true},
	"device":          {"name of the device", false},
	"direction":       {"which way, seen from the workload: `receive` or `transmit`", true},
	"errno":           {"symbolic error number, such as `ENOENT`", true},
	"family":          {"address family", true},
	"fstype":          {"type of the file system", true},
	"goarch":          {"processor architecture of the build", true},
	"goos":            {"operating system of the build", true},
	"goversion":       {"version of Go that made the build", true},
	"hook":            {"kernel hook that the program is attached to", true},
	"image":           {"image as it was asked for: registry/repository:tag", false},
	"image_id":        {"digest of the image's configuration or manifest", false},
	"kind":            {"kind of event, or of change of a file", true},
	"limit":           {"which limit", true},
	"map":             {"name of the BPF map", true},
	"metric":          {"name of a metric of Yagura's own", true},
	"mode":            {"mode of operation", true},
	"mountpoint":      {"where the file system is mounted", false},
	"operation":       {"what was done", true},
	"owner_kind":      {"kind of the Kubernetes object that owns the pod", true},
	"owner_name":      {"name of the Kubernetes object that owns the pod", false},
	"pod_uid":         {"Kubernetes uid of the pod", false},
	"port":            {"number of the port that is listened at", false},
	"priority":        {"priority of the rule", true},
	"probe":           {"name of the probe in the kernel", true},
	"program":         {"name of the BPF program", true},
	"library":         {"TLS library: openssl, which is also BoringSSL, or go", true},
	"protocol":        {"protocol", true},
	"quantile":        {"quantile of a summary", true},
	"reason":          {"why, from a fixed list", true},
	"resource":        {"what is used: `cpu`, `memory`, `io`, `pids`, `accept_queue`", true},
	"result":          {"how it ended, from a fixed list", true},
	"revision":        {"source revision of the build", true},
	"role":            {"what the workload is on a connection: `client` or `server`", true},
	"rule":            {"name of the rule", false},
	"runtime":         {"container runtime: containerd, cri-o, docker", true},
	"sandbox":         {"id of the pod sandbox", false},
	"sandbox_id":      {"id of the pod sandbox", false},
	"server":          {"who answers, as for client", false},
	"signal":          {"name of the signal", true},
	"source":          {"where it comes from, from a fixed list", true},
	"stage":           {"where on its way: see the metric", true},
	"state":           {"state, from a fixed list", true},
	"syscall":         {"name of the system call; `other` for those that are not counted by name", true},
	"table":           {"which table", true},
	"tags":            {"build tags", true},
	"type":            {"type, from a fixed list", true},
	"version":         {"version", true},
	"chip":            {"sensor chip, by where it is on the machine", true},
	"chip_name":       {"name that the driver gives a sensor chip", true},
	"clocksource":     {"name of a clock of the kernel", true},
	"domainname":      {"NIS domain of the machine", true},
	"machine":         {"architecture of the machine", true},
	"nodename":        {"host name of the machine", true},
	"release":         {"release of the kernel", true},
	"sensor":          {"sensor of a chip", true},
	"sysname":         {"name of the operating system", true},
	"time_zone":       {"abbreviation of the local time zone", true},

	"db_operation_name":         {"operation of a database: a statement's verb, or a command", false},
	"db_system_name":            {"kind of database: `postgresql`, `mysql`, `redis`, `memcached`, `mongodb`", true},
	"dns_question_name":         {"name that is looked up; empty unless requests.dns_names is on", false},
	"error_type":                {"empty if nothing failed; else the status or code that says so, `closed` for a connection that ended before the answer, `cancelled`, `_OTHER` for a failure without a code", true},
	"http_request_method":       {"method of a request; `_OTHER` for those that HTTP does not define", true},
	"http_response_status_code": {"status of a response; empty if none came", true},
	"http_route":                {"path of a request, with all that is not fixed folded; `other` beyond requests.routes, empty for what a server does not know", false},
	"messaging_operation_name":  {"operation of a broker, as its protocol calls it", false},
	"messaging_system":          {"kind of broker: `kafka`, `rabbitmq`, `nats`", true},
	"rpc_method":                {"full name of a method: package.Service/Method", false},
	"rpc_response_status_code":  {"name of a call's status; empty if none came", true},
	"rpc_system_name":           {"kind of call: `grpc`", true},
}

// appendKey appends what identifies a label set: each value behind its length. A value that cannot be shown as it is
// is changed, and altered is true.
func (f *Family) appendKey(key []byte, w event.Workload, labels []string) (_ []byte, altered bool) {
	if f.perWorkload {
		key, altered = appendValue(key, w.Namespace, altered)
		key, altered = appendValue(key, w.Pod, altered)
		key, altered = appendValue(key, w.Container, altered)
		key, altered = appendValue(key, w.Unit, altered)
	}
	for _, value := range labels {
		key, altered = appendValue(key, value, altered)
	}
	return key, altered
}

func appendValue(key []byte, value string, altered bool) ([]byte, bool) {
	if len(value) > maxLabelBytes || !utf8.ValidString(value) {
		return appendAltered(key, value), true
	}
	key = binary.BigEndian.AppendUint16(key, uint16(len(value)))
	return append(key, value...), altered
}

// appendAltered replaces what is not UTF-8 and cuts at the last whole rune within maxLabelBytes.
func appendAltered(key []byte, value string) []byte {
	at := len(key)
	key = append(key, 0, 0)
	for _, r := range value {
		if len(key)-at-2+utf8.RuneLen(r) > maxLabelBytes {
			break
		}
		key = utf8.AppendRune(key, r)
	}
	binary.BigEndian.PutUint16(key[at:], uint16(len(key)-at-2))
	return key
}

// countAltered counts the reasons why a new label set is not shown as it was given.
func (f *Family) countAltered(w event.Workload, labels []string) {
	count := func(value string) {
		if !utf8.ValidString(value) {
			f.changed.invalid.Add(1)
		}
		if len(value) > maxLabelBytes {
			f.changed.tooLong.Add(1)
		}
	}
	if f.perWorkload {
		count(w.Namespace)
		count(w.Pod)
		count(w.Container)
		count(w.Unit)
	}
	for _, value := range labels {
		count(value)
	}
}

// splitKey returns the values of a key, as parts of it.
func splitKey(key string) []string {
	var values []string
	for len(key) > 0 {
		n := 2 + int(key[0])<<8 + int(key[1])
		values = append(values, key[2:n])
		key = key[n:]
	}
	return values
}

// labelPairs returns the labels of a key in the order of their names. Those of the workload are shared by all series of
// the workload. Empty ones are kept: a scrape with honor_labels would put the target's own pod in their place.
func (f *Family) labelPairs(key string, w *workload) []*dto.LabelPair {
	values, names := splitKey(key), f.labels
	pairs := make([]*dto.LabelPair, 0, len(f.sorted))
	own := make([]dto.LabelPair, len(names))
	for _, i := range f.sorted {
		if f.perWorkload && i < len(workloadLabels) {
			pairs = append(pairs, w.pairs[i])
			continue
		}
		value := values[i]
		if f.perWorkload {
			i -= len(workloadLabels)
		}
		own[i].Name, own[i].Value = &names[i], &value
		pairs = append(pairs, &own[i])
	}
	return pairs
}
