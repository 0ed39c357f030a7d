package promql

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/common/version"
)

// writeFindings prints what was found in the format that was asked for.
func writeFindings(w io.Writer, format string, findings []Finding, kinds map[string]int) error {
	switch format {
	case "json":
		return writeLintJSON(w, map[string]any{"findings": findings})
	case "sarif":
		return writeLintJSON(w, sarifOf(findings))
	case "github":
		return writeGitHub(w, findings)
	}
	for _, f := range findings {
		if _, err := fmt.Fprintln(w, f); err != nil {
			return err
		}
	}
	return summary(w, findings, kinds)
}

// summary says what was looked at, and with what result.
func summary(w io.Writer, findings []Finding, kinds map[string]int) error {
	var looked []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		word, of, _ := strings.Cut(kind, " of ")
		text := counted(kinds[kind], word)
		if of != "" {
			text += " of " + of
		}
		looked = append(looked, text)
	}
	if len(looked) == 0 {
		return nil
	}
	var by [LintError + 1]int
	for _, f := range findings {
		by[f.Severity]++
	}
	verdict := "ok"
	if len(findings) > 0 {
		verdict = fmt.Sprintf("%s, %s, %d to know", counted(by[LintError], "error"), counted(by[LintWarning], "warning"), by[LintInfo])
	}
	_, err := fmt.Fprintf(w, "%s: %s\n", strings.Join(looked, ", "), verdict)
	return err
}

func writeLintJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// writeGitHub writes the commands by which an action annotates lines of a pull request.
func writeGitHub(w io.Writer, findings []Finding) error {
	level := map[Severity]string{LintError: "error", LintWarning: "warning", LintInfo: "notice"}
	// What would end a value or a line is written as they have it: per cent, end of line, and in properties colon and comma.
	message := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	for _, f := range findings {
		if _, err := fmt.Fprintf(w, "::%s file=%s,line=%d,col=%d,title=%s::%s\n", level[f.Severity], property.Replace(f.File), f.Line, f.Column, property.Replace(f.Rule), message.Replace(f.Message)); err != nil {
			return err
		}
	}
	return nil
}

// sarifOf is the log that code scanning services read (SARIF 2.1.0).
func sarifOf(findings []Finding) any {
	type object = map[string]any
	level := map[Severity]string{LintError: "error", LintWarning: "warning", LintInfo: "note"}
	rules, results := []object{}, []object{}
	for _, r := range lintRules {
		rules = append(rules, object{"id": r.Name, "shortDescription": object{"text": r.Doc}, "defaultConfiguration": object{"level": level[r.Severity]}})
	}
	for _, f := range findings {
		results = append(results, object{"ruleId": f.Rule, "ruleIndex": slices.IndexFunc(lintRules, func(r LintRule) bool { return r.Name == f.Rule }),
			"level": level[f.Severity], "message": object{"text": f.Message},
			"locations": []object{{"physicalLocation": object{"artifactLocation": object{"uri": (&url.URL{Path: filepath.ToSlash(f.File)}).String()}, "region": object{"startLine": f.Line, "startColumn": f.Column}}}}})
	}
	run := object{"tool": object{"driver": object{"name": "yagura check", "version": version.Version, "rules": rules}}, "columnKind": "unicodeCodePoints", "results": results}
	return object{"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": []object{run}}
}
