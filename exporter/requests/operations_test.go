package requests

import "testing"

func TestOperationSpellsNumbers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ protocol, text, want string }{
		{"kafka", "\x00\x00", "Produce"},
		{"kafka", "\x00\x12", "ApiVersions"},
		{"kafka", "\x00\x24", "SaslAuthenticate"},
		{"kafka", "\x00\x3c", "DescribeCluster"},
		{"kafka", "\x00\x4b", "DescribeTopicPartitions"},
		{"kafka", "\x00\x5c", "DeleteShareGroupOffsets"},
		{"kafka", "\x00\x5d", "API 93"},
		{"kafka", "\x01\x00", "API 256"},
		{"kafka", "\x00", ""},
		{"kafka", "", ""},
		{"amqp", "\x00\x3c\x00\x28", "basic.publish"},
		{"amqp", "\x00\x3c\x00\x3c", "basic.deliver"},
		{"amqp", "\x00\x0a\x00\x0b", "connection.start-ok"},
		{"amqp", "\x00\x32\x00\x0a", "queue.declare"},
		{"amqp", "\x00\x28\x00\x33", "exchange.unbind-ok"},
		{"amqp", "\x00\x5a\x00\x14", "tx.commit"},
		{"amqp", "\x00\x3c\x00\x2d", "60.45"},
		{"amqp", "\x01\x00\x00\x0a", "256.10"},
		{"amqp", "basic.publish", ""},
		{"mongodb", "find", "find"},
		{"postgresql", "SELECT", "SELECT"},
	} {
		if got := Operation(c.protocol, c.text); got != c.want {
			t.Errorf("Operation(%q, %q) = %q, want %q", c.protocol, c.text, got, c.want)
		}
	}
}

func TestKafkaOperationsAreAllNamed(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for api, name := range kafkaOperations {
		if before, ok := seen[name]; name == "" || ok {
			t.Errorf("API %d is %q, as is %d: want a name of its own", api, name, before)
		}
		seen[name] = api
	}
}
