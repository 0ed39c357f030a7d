package host

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// maxCertificates is how many certificates of one file are looked at.
const maxCertificates = 100

// KubernetesCertificates reports the certificates of the control plane and the kubelet. Keys are not looked at.
func (s *Surveys) KubernetesCertificates(ctx context.Context, report func(event.Fact)) error {
	n, err := s.kubeNode(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	seen := map[string]bool{}
	for _, file := range n.files() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if file.certificates == "" || seen[file.path] {
			continue
		}
		seen[file.path] = true
		s.certificatesIn(file, now, report)
	}
	return nil
}

// certificatesIn reports those in one file.
func (s *Surveys) certificatesIn(file kubeFile, now time.Time, report func(event.Fact)) {
	begin := func(i int) event.Fact {
		subject := file.path
		if i > 0 {
			subject = fmt.Sprintf("%s #%d", file.path, i+1)
		}
		return event.Certificate.New(subject, file.path).Set("path", file.path).Set("purpose", file.certificates)
	}
	data, err := s.read(file.path, maxKubeFile)
	if Absent(err) {
		return
	}
	if err == nil && file.certificates == "kubeconfig" {
		data, err = kubeconfigCertificate(file.path, data)
	}
	if err != nil {
		report(begin(0).Fail(err))
		return
	}
	all, err := parseCertificates(file.path, data)
	for i, certificate := range all {
		report(certificateFact(begin(i), certificate, now))
	}
	if err != nil {
		report(begin(len(all)).Fail(err))
	}
}

// kubeconfigCertificate is the certificate that a kubeconfig holds itself, nothing if it holds none.
func kubeconfigCertificate(file string, data []byte) ([]byte, error) {
	v, err := parseKubeYAML(file, string(data))
	if err != nil {
		return nil, err
	}
	current := named(v.get("contexts"), v.get("current-context").string()).get("context", "user").string()
	encoded := named(v.get("users"), current).get("user", "client-certificate-data")
	if encoded == nil {
		return nil, nil
	}
	text, err := base64.StdEncoding.DecodeString(encoded.string())
	if err != nil {
		return nil, encoded.wrong("client-certificate-data in base64")
	}
	return text, nil
}

// parseCertificates reads all certificates of a PEM file, as far as they can be read.
func parseCertificates(file string, data []byte) (all []*x509.Certificate, err error) {
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if len(all) == maxCertificates {
			return all, fmt.Errorf("%s: it has more than %d certificates", file, maxCertificates)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return all, fmt.Errorf("%s: certificate %d: %w", file, len(all)+1, err)
		}
		all = append(all, certificate)
	}
	if len(all) == 0 && bytes.Contains(data, []byte("BEGIN CERTIFICATE")) {
		return nil, fmt.Errorf("%s: want a certificate in PEM", file)
	}
	return all, nil
}

func certificateFact(f event.Fact, c *x509.Certificate, now time.Time) event.Fact {
	left := int64(math.Floor(c.NotAfter.Sub(now).Hours() / 24))
	f.Set("common_name", c.Subject.CommonName).Set("organizations", append([]string{}, c.Subject.Organization...)).Set("issuer", c.Issuer.CommonName)
	f.Set("not_after", c.NotAfter.UTC().Format(time.DateOnly)).Set("days_left", left).Set("days_valid", int64(c.NotAfter.Sub(c.NotBefore).Hours()/24))
	self := bytes.Equal(c.RawIssuer, c.RawSubject)
	f.Set("ca", c.IsCA).Set("self_signed", self)
	kind, bits := keyOf(c.PublicKey)
	f.Set("key_type", kind).Set("key_bits", bits).Set("key_strong", kind == "rsa" && bits >= 2048 || kind != "rsa" && bits >= 256)
	algorithm := c.SignatureAlgorithm.String()
	weak := strings.Contains(algorithm, "MD") || strings.Contains(algorithm, "SHA1")
	known := c.SignatureAlgorithm != x509.UnknownSignatureAlgorithm
	return f.Set("signature", algorithm).Set("signature_strong", self || known && !weak)
}

func keyOf(key any) (kind string, bits int64) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return "rsa", int64(key.N.BitLen())
	case *ecdsa.PublicKey:
		return "ecdsa", int64(key.Curve.Params().BitSize)
	case ed25519.PublicKey:
		return "ed25519", 256
	}
	return "other", 0
}

// sharesCertificate says whether two PEM files have a certificate in common.
func sharesCertificate(a, b []byte) bool {
	ones, _ := parseCertificates("", a)
	others, _ := parseCertificates("", b)
	return slices.ContainsFunc(ones, func(one *x509.Certificate) bool {
		return slices.ContainsFunc(others, one.Equal)
	})
}

// hasKey says whether a PEM file holds a private key.
func hasKey(data []byte) bool {
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return false
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return true
		}
	}
}
