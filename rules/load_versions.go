package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A version is that of an engine or a plugin.
type version struct{ major, minor, patch int }

// engineVersion is of the language that we read.
var engineVersion = version{0, 63, 0}

// plugins are those that rule files may require: what they do is built in, whatever version is asked for.
var plugins = []string{"container", "k8saudit", "json", "cloudtrail", "k8smeta"}

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v.major, v.minor, v.patch) }

func (v version) compare(o version) int {
	return cmp.Or(cmp.Compare(v.major, o.major), cmp.Compare(v.minor, o.minor), cmp.Compare(v.patch, o.patch))
}

// serves says whether a thing of this version does for who requires another one.
func (v version) serves(required version) bool {
	return v.major == required.major && v.compare(required) >= 0
}

// parseVersion reads x.y.z; what stands behind it, such as -rc1, is not looked at.
func parseVersion(text string) (version, bool) {
	parts := strings.SplitN(text, ".", 3)
	if len(parts) < 3 {
		return version{}, false
	}
	if end := strings.IndexFunc(parts[2], func(r rune) bool { return r < '0' || r > '9' }); end > 0 && strings.ContainsRune("-+.", rune(parts[2][end])) {
		parts[2] = parts[2][:end]
	}
	var numbers [3]int
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil {
			return version{}, false
		}
		numbers[i] = int(n)
	}
	return version{numbers[0], numbers[1], numbers[2]}, true
}

func (l *loader) readEngineVersion(content *place, n *yamlNode) error {
	e := &entry{l: l, where: content.in(inEngine, "", n), n: n}
	l.checkKeys(e.where, n, []string{"required_engine_version"})
	text := e.need("required_engine_version").text
	if e.err != nil {
		return e.err
	}
	required, ok := parseVersion(text)
	if minor, err := strconv.ParseUint(text, 10, 31); err == nil {
		required, ok = version{0, int(minor), 0}, true
	}
	if !ok {
		return invalid(e.where, "Unable to parse engine version '%s' as a semver string. Expected \"x.y.z\" semver format.", text)
	}
	if !engineVersion.serves(required) {
		return refused(e.where, "Rules require engine version %s, but engine version is %s", required, engineVersion)
	}
	if required.compare(l.engine) > 0 {
		l.engine = required
	}
	return nil
}

func (l *loader) readPluginVersions(content *place, n *yamlNode) error {
	l.checkKeys(content.in(inPlugins, "", n), n, []string{"required_plugin_versions"})
	all := n.get("required_plugin_versions")
	where := content.in(inPlugins, "", all)
	if all.kind != yamlSequence {
		return invalid(where, "Value of required_plugin_versions must be a sequence")
	}
	for _, item := range all.items {
		if err := l.readPlugin(where, item); err != nil {
			return err
		}
	}
	return nil
}

// A requirement is one plugin in one version.
type requirement struct{ name, version string }

func (l *loader) readPlugin(all *place, n *yamlNode) error {
	where := all.in(inPlugin, "", n)
	first, err := l.readRequirement(where, n, []string{"name", "version", "alternatives"})
	if err != nil {
		return err
	}
	where.name = first.name
	required := []requirement{first}
	if alternatives := n.get("alternatives"); alternatives != nil && alternatives.kind != yamlNull {
		if alternatives.kind != yamlSequence {
			return invalid(where, "Value of plugin version alternatives must be a sequence")
		}
		for _, item := range alternatives.items {
			r, err := l.readRequirement(where.in(inAlternative, "", item), item, []string{"name", "version"})
			if err != nil {
				return err
			}
			required = append(required, r)
		}
	}
	return checkPlugins(where, required)
}

func (l *loader) readRequirement(where *place, n *yamlNode, keys []string) (requirement, error) {
	if n.kind != yamlMapping {
		return requirement{}, invalid(where, "Plugin version requirement must be a mapping with name and version")
	}
	e := &entry{l: l, where: where, n: n}
	r := requirement{e.need("name").text, e.need("version").text}
	l.checkKeys(where, n, keys)
	return r, e.err
}

func checkPlugins(where *place, required []requirement) error {
	seen := map[string]bool{}
	served := false
	var wanted []string
	for _, r := range required {
		if _, ok := parseVersion(r.version); !ok {
			return refused(where, "Invalid required version '%s' for plugin '%s'", r.version, r.name)
		}
		if seen[r.name] {
			return refused(where, "Defined multiple alternative version requirements for plugin '%s'", r.name)
		}
		seen[r.name] = true
		served = served || slices.Contains(plugins, r.name)
		wanted = append(wanted, fmt.Sprintf("%s (>= %s)", r.name, r.version))
	}
	if !served {
		return refused(where, "Plugin requirement not satisfied, must load one of: %s", strings.Join(wanted, ", "))
	}
	return nil
}
