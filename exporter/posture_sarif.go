package exporter

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/version"

	"github.com/yagura-io/yagura/rules/event"
)

// The parts of SARIF 2.1.0 that we write.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool struct {
			Driver sarifDriver `json:"driver"`
		} `json:"tool"`
		Invocations []sarifInvocation `json:"invocations"`
		Results     []sarifResult     `json:"results"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version,omitempty"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string            `json:"id"`
		ShortDescription sarifMessage      `json:"shortDescription"`
		FullDescription  sarifMessage      `json:"fullDescription"`
		Help             sarifMessage      `json:"help"`
		HelpURI          string            `json:"helpUri,omitempty"`
		Default          map[string]string `json:"defaultConfiguration"`
		Properties       map[string]any    `json:"properties"`
	}
	sarifMessage struct {
		Text string `json:"text"`
	}
	sarifInvocation struct {
		Successful bool   `json:"executionSuccessful"`
		Start      string `json:"startTimeUtc"`
		End        string `json:"endTimeUtc"`
		Machine    string `json:"machine,omitempty"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		RuleIndex    int                `json:"ruleIndex"`
		Kind         string             `json:"kind"`
		Level        string             `json:"level"`
		Message      sarifMessage       `json:"message"`
		Locations    []sarifLocation    `json:"locations,omitempty"`
		Fingerprints map[string]string  `json:"partialFingerprints,omitempty"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
	}
	sarifLocation struct {
		Physical *sarifPhysical `json:"physicalLocation,omitempty"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region *sarifRegion `json:"region,omitempty"`
	}
	sarifRegion struct {
		Line int `json:"startLine"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Status        string `json:"status"`
		Justification string `json:"justification"`
	}
)

// sarifLevels and sarifScores are what a severity is there.
var (
	sarifLevels = [...]string{"error", "error", "warning", "note"}
	sarifScores = [...]string{"9.5", "8.0", "5.5", "2.5"} // security-severity, as code scanning services sort by it
)

// sarif writes what fails, what is waived as suppressed, and what was not decided as results without a level.
func (r *postureReport) sarif(w io.Writer) error {
	const timeFormat = "2006-01-02T15:04:05.000Z"
	run := sarifRun{Results: []sarifResult{}, Invocations: []sarifInvocation{{Successful: true, Start: r.Time.UTC().Format(timeFormat),
		End: r.Time.Add(r.Took).UTC().Format(timeFormat), Machine: r.subject}}}
	run.Tool.Driver = sarifDriver{Name: "yagura", Version: version.Version, Rules: []sarifRule{}}
	for i := range r.Verdicts {
		v := &r.Verdicts[i]
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRuleOf(v.Check))
		run.Results = append(run.Results, sarifResults(v, i)...)
	}
	return writePostureJSON(w, sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}})
}

func sarifRuleOf(c *event.Check) sarifRule {
	tags := []string{"security"}
	for _, control := range c.Controls {
		if tag := control.Framework + "/" + control.ID; !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	rule := sarifRule{ID: c.ID, ShortDescription: sarifMessage{c.Title}, FullDescription: sarifMessage{c.Risk}, Help: sarifMessage{c.Remediation},
		Default: map[string]string{"level": sarifLevels[c.Severity]}, Properties: map[string]any{"tags": tags, "security-severity": sarifScores[c.Severity]}}
	if len(c.References) > 0 {
		if u, err := url.Parse(c.References[0]); err == nil && u.IsAbs() && u.Host != "" {
			rule.HelpURI = u.String()
		}
	}
	return rule
}

func sarifResults(v *event.Verdict, index int) (all []sarifResult) {
	undecided := func(kind, text string) sarifResult {
		return sarifResult{RuleID: v.Check.ID, RuleIndex: index, Kind: kind, Level: "none", Message: sarifMessage{text}}
	}
	switch v.Status {
	case event.Pass:
		all = append(all, undecided("pass", v.Check.Title+"."))
	case event.Erroneous:
		all = append(all, undecided("open", "It could not be read: "+v.Reason))
	case event.Manual:
		all = append(all, undecided("review", v.Check.Remediation))
	case event.NotApplicable:
		all = append(all, undecided("notApplicable", v.Reason))
	}
	for _, o := range slices.Concat(v.Objects, v.Waived) {
		result := sarifResult{RuleID: v.Check.ID, RuleIndex: index, Kind: "fail", Level: sarifLevels[v.Check.Severity],
			Message: sarifMessage{"It is not so: " + v.Check.Title + ". " + describeObject(&o)}, Locations: []sarifLocation{sarifLocationOf(&o)}}
		sum := sha256.Sum256([]byte(v.Check.ID + "\x00" + o.Subject))
		result.Fingerprints = map[string]string{"checkAndSubject/v1": hex.EncodeToString(sum[:16])}
		if o.Waiver != nil {
			result.Suppressions = []sarifSuppression{{"external", "accepted",
				o.Waiver.Reason + " (" + o.Waiver.Owner + ", until " + lastDay(o.Waiver) + ")"}}
		}
		all = append(all, result)
	}
	return all
}

func sarifLocationOf(o *event.Object) sarifLocation {
	at := sarifLocation{Logical: []sarifLogical{{o.Subject}}}
	if o.Subject == "" {
		at.Logical = []sarifLogical{{"machine"}}
	}
	file, line := o.Source, 0
	if i := strings.LastIndexByte(file, ':'); i > 0 {
		if n, err := strconv.Atoi(file[i+1:]); err == nil && n > 0 {
			file, line = file[:i], n
		}
	}
	if file == "" {
		return at
	}
	u := url.URL{Path: file}
	if strings.HasPrefix(file, "/") {
		u.Scheme = "file"
	}
	at.Physical = &sarifPhysical{}
	at.Physical.Artifact.URI = u.String()
	if line > 0 {
		at.Physical.Region = &sarifRegion{line}
	}
	return at
}
