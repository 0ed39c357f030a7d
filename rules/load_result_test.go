package rules

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLoadVersions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, want string }{
		{"required_engine_version: 26", ""},
		{"required_engine_version: 63", ""},
		{"required_engine_version: '0.63.0'", ""},
		{"required_engine_version: 64", "LOAD_ERR_VALIDATE a.yaml:1:3 Rules require engine version 0.64.0, but engine version is 0.63.0"},
		{"required_engine_version: 0.63.1", "LOAD_ERR_VALIDATE a.yaml:1:3 Rules require engine version 0.63.1, but engine version is 0.63.0"},
		{"required_engine_version: 1.0.0", "LOAD_ERR_VALIDATE a.yaml:1:3 Rules require engine version 1.0.0, but engine version is 0.63.0"},
		{"required_engine_version: 0.4", `LOAD_ERR_YAML_VALIDATE a.yaml:1:3 Unable to parse engine version '0.4' as a semver string. Expected "x.y.z" semver format.`},
		{"required_engine_version:", "LOAD_ERR_YAML_VALIDATE a.yaml:1:27 Mapping for key 'required_engine_version' is empty"},
		{"required_plugin_versions: [{name: container, version: 9.9.9}, {name: json, version: 0.7.0-rc1}]", ""},
		{"required_plugin_versions: [{name: k8saudit-eks, version: 0.1.0, alternatives: [{name: k8saudit, version: 0.7.0}]}]", ""},
		{"required_plugin_versions: [{name: gcp, version: 0.1.0, alternatives: [{name: okta, version: 0.7.0}]}]",
			"LOAD_ERR_VALIDATE a.yaml:1:30 Plugin requirement not satisfied, must load one of: gcp (>= 0.1.0), okta (>= 0.7.0)"},
		{"required_plugin_versions: [{name: json, version: 0.1.0, alternatives: [{name: json, version: 0.7.0}]}]",
			"LOAD_ERR_VALIDATE a.yaml:1:30 Defined multiple alternative version requirements for plugin 'json'"},
		{"required_plugin_versions: [{name: json, version: new}]", "LOAD_ERR_VALIDATE a.yaml:1:30 Invalid required version 'new' for plugin 'json'"},
		{"required_plugin_versions: json", "LOAD_ERR_YAML_VALIDATE a.yaml:1:29 Value of required_plugin_versions must be a sequence"},
		{"required_plugin_versions: [{name: json}]", "LOAD_ERR_YAML_VALIDATE a.yaml:1:30 Item has no mapping for key 'version'"},
		{"required_plugin_versions: [{name: json, version: 0.1.0, alternatives: x}]",
			"LOAD_ERR_YAML_VALIDATE a.yaml:1:30 Value of plugin version alternatives must be a sequence"},
	} {
		_, results := loadText(loadOptions(), "- "+test.text+"\n")
		if got := strings.Join(told(results), "\n"); got != test.want {
			t.Errorf("%s: told\n%s\nwant\n%s", test.text, got, test.want)
		}
	}
	set, _ := mustLoad(t, "- required_engine_version: 31\n", "- required_engine_version: 0.40.2\n", "- required_engine_version: 7\n")
	if set.EngineVersion != "0.40.2" {
		t.Errorf("required version is %q, want the newest, 0.40.2", set.EngineVersion)
	}
}

func TestSchemaIsStricterThanTheLoader(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, valid, want string }{
		{anyRule, "ok", ""},
		{"", "ok", ""},
		{"- list: l\n  items: [1, a, true]\n", "ok", ""},
		{strings.Replace(anyRule, "INFO", "info", 1), "failed", "5:13: <root>[0].priority: want one of EMERGENCY, ALERT, CRITICAL, ERROR, WARNING, NOTICE, INFO, INFORMATIONAL, DEBUG"},
		{anyRule + "  foo: 1\n", "failed", "6:3: <root>[0]: unknown key 'foo'"},
		{"- foo: [1]\n", "failed", "1:3: <root>[0]: unknown key 'foo'"},
		{"foo: 1\n", "failed", "1:1: <root>: want a sequence of mappings"},
		{"- rule: [\n", "", ""},
		{anyRule + "  exceptions: [{name: x, fields: proc.name, values: [a], other: 1}]\n", "failed", "6:58: <root>[0].exceptions[0]: unknown key 'other'"},
	} {
		_, results := loadText(loadOptions(), test.text)
		if r := results[0]; r.SchemaValid != test.valid || strings.Join(r.SchemaWarnings, "\n") != test.want {
			t.Errorf("schema of\n%s\nis %q %q, want %q %q", test.text, r.SchemaValid, r.SchemaWarnings, test.valid, test.want)
		}
	}
}

func TestResultIsFalcosInJSON(t *testing.T) {
	t.Parallel()
	_, results := loadText(loadOptions(), "- rule: r\n  desc: d\n  condition: >\n    evt.type = open and\n    nope.x = 1\n  output: o\n  priority: INFO\n")
	got, err := json.MarshalIndent(results[0], "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want := `{
 "name": "a.yaml",
 "successful": false,
 "schema_valid": "ok",
 "schema_warnings": [],
 "errors": [
  {
   "context": {
    "locations": [
     {
      "item_type": "rules content",
      "item_name": "",
      "position": {
       "name": "a.yaml",
       "line": 0,
       "column": 0,
       "offset": 0
      }
     },
     {
      "item_type": "rule",
      "item_name": "r",
      "position": {
       "name": "a.yaml",
       "line": 0,
       "column": 2,
       "offset": 2
      }
     },
     {
      "item_type": "rule condition",
      "item_name": "",
      "position": {
       "name": "a.yaml",
       "line": 2,
       "column": 13,
       "offset": 33
      }
     },
     {
      "item_type": "condition expression",
      "item_name": "",
      "position": {
       "name": "a.yaml",
       "line": 4,
       "column": 4,
       "offset": 63
      }
     }
    ],
    "snippet": "    nope.x = 1\n    ^\n"
   },
   "code": "LOAD_ERR_COMPILE_CONDITION",
   "codedesc": "Error compiling condition",
   "message": "unknown field \"nope.x\""
  }
 ],
 "warnings": []
}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("JSON differs (-want +got):\n%s", diff)
	}
}
