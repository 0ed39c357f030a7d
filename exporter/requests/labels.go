package requests

import (
	"slices"
	"strconv"

	"github.com/yagura-io/yagura/bpf"
)

// A Metric is one family of histograms of requests.
type Metric struct {
	Name, Help string
	Labels     []string
}

// Where a pair of metrics begins: that of the client's side, and behind it that of the server's.
const (
	ofHTTP      = 0
	ofRPC       = 2
	ofDatabase  = 4
	ofMessaging = 6
	ofDNS       = 8
	ofTCP       = 10
)

var (
	httpLabels      = []string{"http_request_method", "http_response_status_code", "http_route", "error_type"}
	rpcLabels       = []string{"rpc_system_name", "rpc_method", "rpc_response_status_code", "error_type"}
	databaseLabels  = []string{"db_system_name", "db_operation_name", "error_type"}
	messagingLabels = []string{"messaging_system", "messaging_operation_name", "error_type"}
	dnsLabels       = []string{"dns_question_name", "error_type"}
)

// Metrics are all metrics of requests. Their names and labels are those of OpenTelemetry's semantic conventions, as
// Prometheus spells them, where there are some; the server's side of databases, brokers and DNS is named after them.
var Metrics = [...]Metric{
	ofHTTP: {"http_client_request_duration_seconds",
		"Time from the request of the workload until it had the whole response, HTTP/1 and HTTP/2; routes are only shown with requests.client_routes.", httpLabels},
	{"http_server_request_duration_seconds",
		"Time from the arrival of a request until the workload had sent the whole response, HTTP/1 and HTTP/2.", httpLabels},
	ofRPC: {"rpc_client_call_duration_seconds",
		"Time from the call of the workload until it had the whole answer, gRPC; a stream lasts as long as it is open.", rpcLabels},
	{"rpc_server_call_duration_seconds",
		"Time from the arrival of a call until the workload had sent the whole answer, gRPC; a stream lasts as long as it is open.", rpcLabels},
	ofDatabase: {"db_client_operation_duration_seconds",
		"Time from the query or command of the workload to a database until it had the whole answer.", databaseLabels},
	{"db_server_operation_duration_seconds",
		"Time from the arrival of a query or command at the database, which is the workload, until it had sent the whole answer.", databaseLabels},
	ofMessaging: {"messaging_client_operation_duration_seconds",
		"Time from the request of the workload to a broker until it had the whole answer; 0 where none is sent by design.", messagingLabels},
	{"messaging_server_operation_duration_seconds",
		"Time from the arrival of a request at the broker, which is the workload, until it had sent the whole answer; 0 where none is sent by design.", messagingLabels},
	ofDNS: {"dns_lookup_duration_seconds",
		"Time from the DNS query of the workload until the response; names are only shown with requests.dns_names.", dnsLabels},
	{"dns_server_lookup_duration_seconds",
		"Time from the arrival of a DNS query at the workload until it had sent the response; names are only shown with requests.dns_names.", dnsLabels},
	ofTCP: {"yagura_tcp_exchange_duration_seconds",
		"Time from the first byte one way until the first byte back, on TCP connections of protocols that are not known; role is the workload's.",
		[]string{"role", "error_type"}},
}

// SizeMetrics are those of bodies: by side as Metrics of HTTP, whose labels they have, and then of requests and of responses.
var SizeMetrics = [2][2]Metric{
	{{"http_client_request_body_size_bytes", "Size of the body of the workload's request, HTTP/1; only with requests.body_sizes.", httpLabels},
		{"http_client_response_body_size_bytes", "Size of the body that the workload was answered, HTTP/1; only with requests.body_sizes.", httpLabels}},
	{{"http_server_request_body_size_bytes", "Size of the body of a request to the workload, HTTP/1; only with requests.body_sizes.", httpLabels},
		{"http_server_response_body_size_bytes", "Size of the body that the workload has answered, HTTP/1; only with requests.body_sizes.", httpLabels}},
}

// ErrorLabel is the label that tells success from failure, the last one of every metric.
const ErrorLabel = "error_type"

// A Series is what is counted together: a metric, and the values of its labels.
type Series struct {
	Metric int // an index into Metrics
	labels [4]string
}

// Labels are the values of the metric's labels, in their order.
func (s *Series) Labels() []string { return s.labels[:len(Metrics[s.Metric].Labels)] }

// ErrorType is the value of error_type: empty if nothing failed.
func (s *Series) ErrorType() string { return s.labels[len(Metrics[s.Metric].Labels)-1] }

// Protocols of databases and of brokers.
var (
	databases = []string{"postgresql", "mysql", "redis", "memcached", "mongodb"}
	brokers   = []string{"kafka", "amqp", "nats"}
)

// unnamed is the conventions' word for an error without a name.
const unnamed = "_OTHER"

// SeriesOf says where a request of that name is counted; false for what is no request to us, as what TLS hides.
func SeriesOf(k *bpf.RequestKey, name string) (Series, bool) {
	side := 0
	if k.Server {
		side = 1
	}
	switch k.Protocol {
	case "http", "http2":
		return Series{ofHTTP + side, [4]string{k.Method, httpStatus(k), name, httpError(k)}}, true
	case "grpc":
		return Series{ofRPC + side, [4]string{"grpc", name, grpcStatus(k), grpcError(k)}}, true
	case "dns":
		return Series{ofDNS + side, [4]string{name, dnsError(k)}}, true
	case "tcp":
		return Series{ofTCP, [4]string{Role(k.Server), errorType(k, "")}}, true
	case "amqp":
		return Series{ofMessaging + side, [4]string{"rabbitmq", name, errorType(k, codeOf(k))}}, true // the conventions know no other AMQP 0.9
	}
	if slices.Contains(brokers, k.Protocol) {
		return Series{ofMessaging + side, [4]string{k.Protocol, name, errorType(k, codeOf(k))}}, true
	}
	if slices.Contains(databases, k.Protocol) {
		return Series{ofDatabase + side, [4]string{k.Protocol, name, errorType(k, codeOf(k))}}, true
	}
	return Series{}, false
}

// errorType is how a request has failed: by its end, or if the answer says so by the answer's code.
func errorType(k *bpf.RequestKey, code string) string {
	switch {
	case k.End == "closed" || k.End == "cancelled":
		return k.End
	case k.End != "failed":
		return ""
	case code == "":
		return unnamed
	}
	return code
}

// codeOf spells the code of an answer that says it failed; "" if there is none.
func codeOf(k *bpf.RequestKey) string {
	switch {
	case k.Status == 0:
		return ""
	case k.Protocol == "kafka":
		return strconv.Itoa(int(int16(k.Status))) // -1 is an error that the server did not expect
	case k.Protocol != "postgresql":
		return strconv.Itoa(int(k.Status))
	}
	class := [2]byte{byte(k.Status >> 8), byte(k.Status)} // of an SQLSTATE: digits and capital letters
	for _, c := range class {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') {
			return other
		}
	}
	return string(class[:])
}

// httpStatus is empty as long as no response has come, and `other` for what HTTP does not define.
func httpStatus(k *bpf.RequestKey) string {
	if k.Status >= 100 && k.Status <= 599 {
		return strconv.Itoa(int(k.Status))
	}
	if k.Status == 0 && k.End != "ok" {
		return ""
	}
	return other
}

// httpError follows the conventions: a server has failed from 500 on, a client does not get what it asked for from 400 on.
func httpError(k *bpf.RequestKey) string {
	least := uint16(400)
	if k.Server {
		least = 500
	}
	switch {
	case k.End == "closed" || k.End == "cancelled":
		return k.End
	case k.Status >= least:
		return httpStatus(k)
	case k.Status == 0:
		return errorType(k, "")
	}
	return ""
}

// grpcCodes names the status codes of gRPC.
var grpcCodes = [...]string{"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL",
	"UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"}

// serverFaults are those codes that the conventions call an error of the server, which others may be right to answer.
var serverFaults = []string{"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}

// grpcStatus is empty if the call ended without a status.
func grpcStatus(k *bpf.RequestKey) string {
	switch {
	case k.Status == 0 && k.End != "ok":
		return ""
	case int(k.Status) < len(grpcCodes):
		return grpcCodes[k.Status]
	}
	return other
}

func grpcError(k *bpf.RequestKey) string {
	if k.Status == 0 || k.End == "closed" || k.End == "cancelled" {
		return errorType(k, "")
	}
	code := grpcStatus(k)
	if k.Server && code != other && !slices.Contains(serverFaults, code) {
		return ""
	}
	return code
}

// rcodes names the response codes of DNS, as RFC 6895 registers them.
var rcodes = [...]string{"", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE"}

func dnsError(k *bpf.RequestKey) string {
	switch {
	case k.Status == 0 || k.End == "closed" || k.End == "cancelled":
		return errorType(k, "")
	case int(k.Status) < len(rcodes):
		return rcodes[k.Status]
	}
	return other
}

// StatusText is how an answer's status is shown with a single request; "" if it has none.
func StatusText(k *bpf.RequestKey) string {
	switch k.Protocol {
	case "http", "http2":
		return httpStatus(k)
	case "grpc":
		return grpcStatus(k)
	case "dns":
		return dnsError(k)
	}
	return codeOf(k)
}
