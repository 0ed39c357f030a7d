package requests

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/yagura-io/yagura/bpf"
)

func TestValidateNamesWhatIsWrong(t *testing.T) {
	if err := Default.Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	for want, change := range map[string]func(*Config){
		"requests.routes: -1: want 0 to 1000":                    func(c *Config) { c.Routes = -1 },
		"requests.operations: 1001: want":                        func(c *Config) { c.Operations = 1001 },
		"requests.rpc_methods: -5: want":                         func(c *Config) { c.RPCMethods = -5 },
		"requests.bounds: 9 given: want exactly 10":              func(c *Config) { c.Bounds = c.Bounds[1:] },
		"requests.bounds: 0 given: want exactly 10":              func(c *Config) { c.Bounds = []float64{} },
		"requests.bounds: want each greater than the one before": func(c *Config) { c.Bounds[3] = c.Bounds[2] },
		"requests.bounds: want each greater":                     func(c *Config) { c.Bounds[3] = math.NaN() },
		"requests.bounds: 0 to 5: want":                          func(c *Config) { c.Bounds[0] = 0 },
		"requests.bounds: 0.0001 to +Inf: want":                  func(c *Config) { c.Bounds[9] = math.Inf(1) },
		"requests.slow: 0s: want more than 0s and at most 1m0s":  func(c *Config) { c.Slow = 0 },
		"requests.slow: 2m0s: want":                              func(c *Config) { c.Slow = 2 * time.Minute },
		"requests.sample_every: -1: want 0 or more":              func(c *Config) { c.SampleEvery = -1 },
		`requests.networks.dc: "10.0.0": want a network such as`: func(c *Config) { c.Networks = map[string][]string{"dc": {"10.0.0"}} },
	} {
		c := Default
		c.Bounds = append([]float64{}, Default.Bounds...)
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestKernelIsToldWhatTheConfigurationSays(t *testing.T) {
	c := Default
	c.Slow, c.SampleEvery = time.Second, 100
	want := bpf.RequestOptions{
		Slow:    time.Second,
		Samples: samplesPerSecond, Every: 100,
		Names: map[string]int{"http": 10, "http2": 10, "grpc": 50, "postgresql": 40, "mysql": 40, "redis": 40, "memcached": 40,
			"mongodb": 40, "kafka": 40, "amqp": 40, "nats": 40},
		Bounds: [...]time.Duration{100 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 5 * time.Millisecond,
			10 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, time.Second, 5 * time.Second},
	}
	if diff := cmp.Diff(want, c.Kernel()); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
	c.DNSNames, c.Samples = true, false
	want.DNSNames, want.Names["dns"], want.Samples, want.Every = true, 40, 0, 0
	if diff := cmp.Diff(want, c.Kernel()); diff != "" {
		t.Errorf("with names of DNS and without samples (-want +got):\n%s", diff)
	}
	for protocol := range want.Names {
		if !slices.Contains(bpf.Protocols[:], protocol) {
			t.Errorf("%s is no protocol of the kernel side", protocol)
		}
	}
}
