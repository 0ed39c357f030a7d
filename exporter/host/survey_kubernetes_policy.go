package host

import (
	"fmt"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// encryptionFact is how an API server encrypts Secrets: by the first provider of the first resources of its configuration that they are
// among, https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/. Keys are not looked at.
func (s *Surveys) encryptionFact(c *kubeComponent) event.Fact {
	file := parseKubeFlags(c.args, apiServerSettings).text("encryption-provider-config")
	f := event.Encryption.New(c.subject(), c.source).Set("config", file)
	var config *kubeValue
	if file != "" {
		var err error
		f.Source = c.outside(file)
		if config, err = s.kubeYAML(f.Source); err != nil {
			return f.Fail(err)
		}
		if config.get("kind").string() != "EncryptionConfiguration" {
			return f.Fail(config.wrong("kind: EncryptionConfiguration"))
		}
	}
	providers := providersOf(config, "secrets")
	first, kms := "identity", ""
	if len(providers) > 0 {
		first, kms = providers[0].name, providers[0].version
	}
	f.Set("provider", first).Set("kms_version", kms).Set("encrypted", first != "identity")
	f.Set("strong", slices.Contains([]string{"kms", "secretbox", "aescbc"}, first))
	others := providersOf(config, "configmaps")
	f.Set("configmaps", len(others) > 0 && others[0].name != "identity")
	plain := len(providers) == 0 || slices.ContainsFunc(providers, func(p encryptionProvider) bool { return p.name == "identity" })
	return f.Set("plain_readable", plain)
}

// An encryptionProvider is a way to encrypt.
type encryptionProvider struct{ name, version string }

// providersOf are those of a resource of the core group, in order.
func providersOf(config *kubeValue, resource string) (all []encryptionProvider) {
	for _, entry := range config.get("resources").items() {
		if !slices.ContainsFunc(entry.get("resources").strings(), func(r string) bool { return r == resource || r == "*." || r == "*.*" }) {
			continue
		}
		for _, p := range entry.get("providers").items() {
			for name, value := range p.mapping() {
				version := ""
				if name == "kms" {
					version = value.get("apiVersion").string()
					if version == "" {
						version = "v1" // https://kubernetes.io/docs/tasks/administer-cluster/kms-provider/
					}
				}
				all = append(all, encryptionProvider{name, version})
			}
		}
		return all
	}
	return nil
}

// An auditedRequest is a request of an ordinary user, of which an audit policy says what is recorded.
type auditedRequest struct {
	field                            string
	verb, group, resource, namespace string
}

var auditedRequests = []auditedRequest{
	{"secrets", "get", "", "secrets", "default"},
	{"configmaps", "get", "", "configmaps", "default"},
	{"tokenreviews", "create", "authentication.k8s.io", "tokenreviews", ""},
	{"pods", "create", "", "pods", "default"},
	{"deployments", "update", "apps", "deployments", "default"},
	{"pod_exec", "create", "", "pods/exec", "default"},
	{"pod_portforward", "create", "", "pods/portforward", "default"},
	{"pod_proxy", "get", "", "pods/proxy", "default"},
	{"service_proxy", "get", "", "services/proxy", "default"},
	{"roles", "create", "rbac.authorization.k8s.io", "clusterrolebindings", ""},
}

// auditPolicyFact is what an API server records: https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/. Without a policy it is
// nothing.
func (s *Surveys) auditPolicyFact(c *kubeComponent) event.Fact {
	file := parseKubeFlags(c.args, apiServerSettings).text("audit-policy-file")
	f := event.AuditPolicy.New(c.subject(), c.source).Set("file", file)
	var rules []*kubeValue
	if file != "" {
		f.Source = c.outside(file)
		policy, err := s.kubeYAML(f.Source)
		if err != nil {
			return f.Fail(err)
		}
		if policy.get("kind").string() != "Policy" {
			return f.Fail(policy.wrong("kind: Policy"))
		}
		rules = policy.get("rules").items()
	}
	f.Set("rules", int64(len(rules)))
	for _, r := range auditedRequests {
		level, err := r.level(rules)
		if err != nil {
			return f.Fail(err)
		}
		f.Set(r.field, level)
	}
	return f
}

var auditLevels = []string{"None", "Metadata", "Request", "RequestResponse"}

// level is what the first rule that matches says.
func (r *auditedRequest) level(rules []*kubeValue) (string, error) {
	for _, rule := range rules {
		if !r.matches(rule) {
			continue
		}
		level := rule.get("level").string()
		if !slices.Contains(auditLevels, level) {
			return "", fmt.Errorf("%w: level %.40q", rule.wrong("one of "+strings.Join(auditLevels, ", ")), level)
		}
		return level, nil
	}
	return "None", nil
}

// matches says whether a rule is about the request, whoever makes it: rules for some users only are not.
func (r *auditedRequest) matches(rule *kubeValue) bool {
	allows := func(key, value string) bool {
		all := rule.get(key).strings()
		return len(all) == 0 || slices.Contains(all, value)
	}
	resources := rule.get("resources").items()
	switch {
	case rule == nil, len(rule.get("users").items()) > 0, !allows("userGroups", "system:authenticated"), !allows("verbs", r.verb), !allows("namespaces", r.namespace):
		return false
	case len(resources) == 0:
		return len(rule.get("nonResourceURLs").items()) == 0
	}
	return slices.ContainsFunc(resources, r.among)
}

// among says whether some resources of a rule have the request's.
func (r *auditedRequest) among(resources *kubeValue) bool {
	if group := resources.get("group").string(); group != r.group && group != "*" || len(resources.get("resourceNames").items()) > 0 {
		return false
	}
	names := resources.get("resources").strings()
	main, sub, _ := strings.Cut(r.resource, "/")
	return len(names) == 0 || slices.ContainsFunc(names, func(n string) bool {
		return n == r.resource || n == "*" || sub != "" && (n == main+"/*" || n == "*/"+sub)
	})
}
