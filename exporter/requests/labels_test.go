package requests

import (
	"strings"
	"testing"

	"github.com/yagura-io/yagura/bpf"
)

func TestRequestsAreCountedByTheConventions(t *testing.T) {
	class := func(text string) uint16 { return uint16(text[0])<<8 | uint16(text[1]) }
	for _, test := range []struct {
		key  bpf.RequestKey
		want string
	}{
		{bpf.RequestKey{Protocol: "http", Method: "GET", Status: 200, End: "ok", Server: true}, "http_server_request_duration_seconds GET 200 name "},
		{bpf.RequestKey{Protocol: "http2", Method: "POST", Status: 503, End: "failed"}, "http_client_request_duration_seconds POST 503 name 503"},
		{bpf.RequestKey{Protocol: "http", Method: "GET", Status: 404, End: "failed", Server: true}, "http_server_request_duration_seconds GET 404 name "},
		{bpf.RequestKey{Protocol: "http", Method: "GET", Status: 404, End: "failed"}, "http_client_request_duration_seconds GET 404 name 404"},
		{bpf.RequestKey{Protocol: "http", Method: "GET", Status: 500, End: "ok", Server: true}, "http_server_request_duration_seconds GET 500 name 500"},
		{bpf.RequestKey{Protocol: "http", Method: "_OTHER", End: "closed", Server: true}, "http_server_request_duration_seconds _OTHER  name closed"},
		{bpf.RequestKey{Protocol: "http", Method: "GET", Status: 200, End: "closed"}, "http_client_request_duration_seconds GET 200 name closed"},
		{bpf.RequestKey{Protocol: "http2", Method: "GET", End: "cancelled"}, "http_client_request_duration_seconds GET  name cancelled"},
		{bpf.RequestKey{Protocol: "http", Method: "GET", Status: 999, End: "ok"}, "http_client_request_duration_seconds GET other name other"},
		{bpf.RequestKey{Protocol: "http", Method: "GET", Status: 999, End: "ok", Server: true}, "http_server_request_duration_seconds GET other name other"},
		// The kernel side had no room for its particulars.
		{bpf.RequestKey{Protocol: "http", Method: "_OTHER", End: "ok", Server: true}, "http_server_request_duration_seconds _OTHER other name "},
		{bpf.RequestKey{Protocol: "http", Method: "_OTHER", End: "failed", Server: true}, "http_server_request_duration_seconds _OTHER  name _OTHER"},

		{bpf.RequestKey{Protocol: "grpc", End: "ok", Server: true}, "rpc_server_call_duration_seconds grpc name OK "},
		{bpf.RequestKey{Protocol: "grpc", Status: 5, End: "failed", Server: true}, "rpc_server_call_duration_seconds grpc name NOT_FOUND "},
		{bpf.RequestKey{Protocol: "grpc", Status: 5, End: "failed"}, "rpc_client_call_duration_seconds grpc name NOT_FOUND NOT_FOUND"},
		{bpf.RequestKey{Protocol: "grpc", Status: 13, End: "failed", Server: true}, "rpc_server_call_duration_seconds grpc name INTERNAL INTERNAL"},
		{bpf.RequestKey{Protocol: "grpc", Status: 17, End: "failed", Server: true}, "rpc_server_call_duration_seconds grpc name other other"},
		{bpf.RequestKey{Protocol: "grpc", Status: 16, End: "failed"}, "rpc_client_call_duration_seconds grpc name UNAUTHENTICATED UNAUTHENTICATED"},
		{bpf.RequestKey{Protocol: "grpc", End: "cancelled"}, "rpc_client_call_duration_seconds grpc name  cancelled"},
		{bpf.RequestKey{Protocol: "grpc", End: "failed"}, "rpc_client_call_duration_seconds grpc name  _OTHER"},

		{bpf.RequestKey{Protocol: "postgresql", End: "ok"}, "db_client_operation_duration_seconds postgresql name "},
		{bpf.RequestKey{Protocol: "postgresql", Status: class("23"), End: "failed", Server: true}, "db_server_operation_duration_seconds postgresql name 23"},
		{bpf.RequestKey{Protocol: "postgresql", Status: class("XX"), End: "failed"}, "db_client_operation_duration_seconds postgresql name XX"},
		{bpf.RequestKey{Protocol: "postgresql", Status: class("2\""), End: "failed"}, "db_client_operation_duration_seconds postgresql name other"},
		{bpf.RequestKey{Protocol: "mysql", Status: 1146, End: "failed"}, "db_client_operation_duration_seconds mysql name 1146"},
		{bpf.RequestKey{Protocol: "redis", End: "failed"}, "db_client_operation_duration_seconds redis name _OTHER"},
		{bpf.RequestKey{Protocol: "memcached", End: "one_way", Server: true}, "db_server_operation_duration_seconds memcached name "},
		{bpf.RequestKey{Protocol: "mongodb", Status: 11000, End: "failed"}, "db_client_operation_duration_seconds mongodb name 11000"},

		{bpf.RequestKey{Protocol: "kafka", Status: 3, End: "failed"}, "messaging_client_operation_duration_seconds kafka name 3"},
		{bpf.RequestKey{Protocol: "kafka", Status: 0xffff, End: "failed", Server: true}, "messaging_server_operation_duration_seconds kafka name -1"},
		{bpf.RequestKey{Protocol: "kafka", Status: 79, End: "ok"}, "messaging_client_operation_duration_seconds kafka name "},
		{bpf.RequestKey{Protocol: "amqp", End: "one_way", Server: true}, "messaging_server_operation_duration_seconds rabbitmq name "},
		{bpf.RequestKey{Protocol: "nats", End: "closed"}, "messaging_client_operation_duration_seconds nats name closed"},

		{bpf.RequestKey{Protocol: "dns", End: "ok"}, "dns_lookup_duration_seconds name "},
		{bpf.RequestKey{Protocol: "dns", Status: 3, End: "failed"}, "dns_lookup_duration_seconds name NXDOMAIN"},
		{bpf.RequestKey{Protocol: "dns", Status: 2, End: "failed", Server: true}, "dns_server_lookup_duration_seconds name SERVFAIL"},
		{bpf.RequestKey{Protocol: "dns", Status: 23, End: "failed"}, "dns_lookup_duration_seconds name other"},
		{bpf.RequestKey{Protocol: "dns", End: "closed"}, "dns_lookup_duration_seconds name closed"}, // no answer came

		{bpf.RequestKey{Protocol: "tcp", End: "ok", Server: true}, "yagura_tcp_exchange_duration_seconds server "},
		{bpf.RequestKey{Protocol: "tcp", End: "closed"}, "yagura_tcp_exchange_duration_seconds client closed"},
	} {
		s, ok := SeriesOf(&test.key, "name")
		if !ok {
			t.Errorf("%+v is not counted", test.key)
			continue
		}
		if got := Metrics[s.Metric].Name + " " + strings.Join(s.Labels(), " "); got != test.want {
			t.Errorf("%+v is counted as %q, want %q", test.key, got, test.want)
		}
		if labels := s.Labels(); s.ErrorType() != labels[len(labels)-1] {
			t.Errorf("error type %q, want %q", s.ErrorType(), labels[len(labels)-1])
		}
	}
	for _, protocol := range []string{"unknown", "tls", "other"} {
		if s, ok := SeriesOf(&bpf.RequestKey{Protocol: protocol}, ""); ok {
			t.Errorf("%s is counted as %v", protocol, s)
		}
	}
}

func TestEveryProtocolHasAMetric(t *testing.T) {
	for _, protocol := range bpf.Protocols {
		if _, ok := SeriesOf(&bpf.RequestKey{Protocol: protocol}, ""); ok == (protocol == "unknown" || protocol == "tls") {
			t.Errorf("%s has a metric: %v", protocol, ok)
		}
	}
	for _, m := range Metrics {
		if m.Labels[len(m.Labels)-1] != ErrorLabel {
			t.Errorf("the last label of %s is %s, want %s", m.Name, m.Labels[len(m.Labels)-1], ErrorLabel)
		}
	}
}
