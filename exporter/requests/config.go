// Package requests is what requests and responses of layer 7 are called, and the latest of them that are worth a look. It
// knows neither how they are read from the kernel nor how they are shown.
package requests

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/yagura-io/yagura/bpf"
)

// Config says how requests are told apart, and what is kept of single ones.
type Config struct {
	Routes       int              `yaml:"routes"`        // HTTP routes told apart by workload and role; the others are `other`
	Operations   int              `yaml:"operations"`    // operations of databases and brokers, likewise for each protocol
	RPCMethods   int              `yaml:"rpc_methods"`   // methods of gRPC, likewise
	ClientRoutes bool             `yaml:"client_routes"` // show the routes of what a workload asks others for
	BodySizes    bool             `yaml:"body_sizes"`    // show how large requests and responses of HTTP/1 are
	Bounds       []float64        `yaml:"bounds"`        // of classic histograms, in seconds; read at the start only
	Slow         time.Duration    `yaml:"slow"`          // requests that take longer are kept as samples
	Samples      bool             `yaml:"samples"`       // keep slow and failed requests, to look at and as exemplars
	SampleEvery  int              `yaml:"sample_every"`  // keep one in so many of the others too; 0 for none
	TLS          TLSConfig        `yaml:"tls"`           // whose plaintext may be seen
	EdgesConfig  `yaml:",inline"` // its dns_names also shows which names are looked up
}

// Default suits databases as well as web services: its bounds begin at 100 µs and have the usual objectives among them.
var Default = Config{
	Routes:      10,
	Operations:  40,
	RPCMethods:  50,
	Bounds:      []float64{0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 1, 5},
	Slow:        500 * time.Millisecond,
	Samples:     true,
	TLS:         DefaultTLS,
	EdgesConfig: DefaultEdges,
}

// Limits of the configuration.
const (
	maxToldApart = 1000        // the kernel has one table of names for all workloads
	maxBound     = 128         // seconds: what the kernel counts longer ones together as
	minBound     = 0.000_001   // seconds
	maxSlow      = time.Minute // beyond, nobody waits for an answer
)

// samplesPerSecond is how many samples a processor may tell in a second. It bounds what a flood of failures costs.
const samplesPerSecond = 100

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	for _, n := range []struct {
		key   string
		value int
	}{{"routes", c.Routes}, {"operations", c.Operations}, {"rpc_methods", c.RPCMethods}} {
		if n.value < 0 || n.value > maxToldApart {
			return fmt.Errorf("requests.%s: %d: want 0 to %d", n.key, n.value, maxToldApart)
		}
	}
	if err := validBounds(c.Bounds); err != nil {
		return fmt.Errorf("requests.bounds: %w", err)
	}
	if c.Slow <= 0 || c.Slow > maxSlow {
		return fmt.Errorf("requests.slow: %s: want more than 0s and at most %s", c.Slow, maxSlow)
	}
	if c.SampleEvery < 0 {
		return fmt.Errorf("requests.sample_every: %d: want 0 or more", c.SampleEvery)
	}
	if err := cmp.Or(c.TLS.Validate(), c.EdgesConfig.Validate()); err != nil {
		return fmt.Errorf("requests.%w", err)
	}
	return nil
}

func validBounds(bounds []float64) error {
	if len(bounds) != bpf.RequestBounds {
		return fmt.Errorf("%d given: want exactly %d, in seconds", len(bounds), bpf.RequestBounds)
	}
	if bounds[0] < minBound || bounds[len(bounds)-1] > maxBound {
		return fmt.Errorf("%v to %v: want %v to %v, in seconds", bounds[0], bounds[len(bounds)-1], minBound, maxBound)
	}
	for i, b := range bounds[1:] {
		if !(b > bounds[i]) { // also what is not a number
			return errors.New("want each greater than the one before")
		}
	}
	return nil
}

// OrDefault is the configuration, or the default where there is none, as before the command line is read.
func (c Config) OrDefault() Config {
	if c.Bounds == nil {
		return Default
	}
	return c
}

// Kernel is what the kernel side needs to know of the configuration.
func (c Config) Kernel() bpf.RequestOptions {
	c = c.OrDefault()
	o := bpf.RequestOptions{
		Slow:     c.Slow,
		Names:    map[string]int{"http": c.Routes, "http2": c.Routes, "grpc": c.RPCMethods},
		DNSNames: c.DNSNames,
		Sizes:    c.BodySizes,
	}
	for _, protocol := range slices.Concat(databases, brokers) {
		o.Names[protocol] = c.Operations
	}
	if c.DNSNames {
		o.Names["dns"] = c.Operations
	}
	if c.Samples {
		o.Samples, o.Every = samplesPerSecond, c.SampleEvery
	}
	for i, b := range c.Bounds {
		o.Bounds[i] = time.Duration(b*1e9 + 0.5)
	}
	return o
}
