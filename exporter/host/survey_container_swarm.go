package host

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// A swarmState is docker-state.json, as far as it is read.
type swarmState struct{ ListenAddr, AdvertiseAddr, DataPathAddr string }

// Swarm reports Docker's swarm mode by what it keeps on disk.
func (s *Surveys) Swarm(ctx context.Context, report func(event.Fact)) error {
	docker, err := s.dockerSetup(ctx)
	if err != nil || !docker.installed {
		return err
	}
	dir := path.Join(docker.dataRoot(), "swarm")
	f := event.Swarm.New(dir, dir)
	if err := s.swarm(dir, f); err != nil {
		f.Fail(err)
	}
	report(f)
	return nil
}

func (s *Surveys) swarm(dir string, f event.Fact) error {
	file := path.Join(dir, "docker-state.json")
	text, active, err := s.configText(file)
	if err != nil {
		return err
	}
	f.Set("active", active)
	if !active {
		return nil
	}
	var state swarmState
	if err := json.Unmarshal([]byte(text), &state); err != nil {
		return fmt.Errorf("%s: %w", place(file, jsonLine(text, err)), err)
	}
	f.Set("listen", state.ListenAddr).Set("listen_any", everywhere(state.ListenAddr))
	f.Set("data_path", state.DataPathAddr).Set("data_separate", state.DataPathAddr != "" && !sameHost(state.DataPathAddr, state.AdvertiseAddr))
	if err := s.swarmCertificates(path.Join(dir, "certificates"), f); err != nil {
		return err
	}
	if f.Values["manager"] != true {
		return nil
	}
	return s.swarmManagers(dir, state, f)
}

// sameHost says whether two addresses, each with or without a port, are of one host.
func sameHost(a, b string) bool {
	host := func(address string) string {
		if h, _, err := net.SplitHostPort(address); err == nil {
			return h
		}
		return address
	}
	return host(a) == host(b)
}

// swarmCertificates reads the node's certificate, whose unit says what it is, its authority's, and whether its key is encrypted.
func (s *Surveys) swarmCertificates(dir string, f event.Fact) error {
	own, err := s.certificate(path.Join(dir, "swarm-node.crt"))
	if err != nil {
		return err
	}
	f.Set("manager", slices.Contains(own.Subject.OrganizationalUnit, "swarm-manager"))
	f.Set("certificate_days", days(own.NotAfter.Sub(own.NotBefore))).Set("certificate_left", days(time.Until(own.NotAfter)))
	ca, err := s.certificate(path.Join(dir, "swarm-root-ca.crt"))
	if err != nil {
		return err
	}
	f.Set("ca_left", days(time.Until(ca.NotAfter)))
	if f.Values["manager"] != true {
		return nil
	}
	file := path.Join(dir, "swarm-node.key")
	data, err := s.read(file, maxConfigText)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return fmt.Errorf("%s: want a key in PEM", file)
	}
	f.Set("locked", strings.Contains(block.Type, "ENCRYPTED") || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"))
	return nil
}

func days(d time.Duration) int64 { return int64(d / (24 * time.Hour)) }

// certificate reads the first certificate of a file.
func (s *Surveys) certificate(file string) (*x509.Certificate, error) {
	data, err := s.read(file, maxConfigText)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return cert, nil
	}
	return nil, fmt.Errorf("%s: want a certificate in PEM", file)
}

// swarmManagers counts the managers that the node remembers, and itself.
func (s *Surveys) swarmManagers(dir string, state swarmState, f event.Fact) error {
	file := path.Join(dir, "state.json")
	text, exists, err := s.configText(file)
	if err != nil {
		return err
	}
	var peers []struct{ Addr string }
	if exists {
		if err := json.Unmarshal([]byte(text), &peers); err != nil {
			return fmt.Errorf("%s: %w", place(file, jsonLine(text, err)), err)
		}
	}
	hosts := []string{state.AdvertiseAddr}
	for _, p := range peers {
		if !slices.ContainsFunc(hosts, func(h string) bool { return sameHost(h, p.Addr) }) {
			hosts = append(hosts, p.Addr)
		}
	}
	n := int64(len(hosts))
	f.Set("managers", n).Set("managers_odd", n > 1 && n%2 == 1)
	return nil
}
