package exporter

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
)

// A postureMoment is what a store knows of a time: results and scores, by what they are of.
type postureMoment struct {
	results map[checkKey]float64
	scores  map[scoreKey]float64
}

type (
	checkKey struct{ instance, check, severity string }
	scoreKey struct{ instance, framework string }
)

// A postureChange is one difference between two times.
type postureChange struct {
	Instance string `json:"instance,omitempty"`
	Check    string `json:"check"`
	Severity string `json:"severity"`
	From     string `json:"from"` // pass, fail or not assessed
	To       string `json:"to"`
}

// A scoreChange is how a score has moved; a missing one is null.
type scoreChange struct {
	Instance  string   `json:"instance,omitempty"`
	Framework string   `json:"framework"`
	From      *float64 `json:"from"`
	To        *float64 `json:"to"`
}

// maxAnswer bounds what is read of a store.
const maxAnswer = 64 << 20

func (c *postureCommand) diff(ctx context.Context, ask askFunc, format string) error {
	from, err := momentAt(ctx, ask, c.from)
	if err != nil {
		return err
	}
	to, err := momentAt(ctx, ask, c.to)
	if err != nil {
		return err
	}
	if len(from.results) == 0 {
		return fmt.Errorf("nothing is known of the posture at %s: there is no yagura_posture_check_result", c.from)
	}
	if len(to.results) == 0 {
		return fmt.Errorf("nothing is known of the posture at %s: there is no yagura_posture_check_result", cmp.Or(c.to, "present"))
	}
	return writePostureDiff(c.out, format, changesBetween(from, to), scoresBetween(from, to))
}

// momentAt asks for all of a time.
func momentAt(ctx context.Context, ask askFunc, at string) (*postureMoment, error) {
	m := &postureMoment{map[checkKey]float64{}, map[scoreKey]float64{}}
	err := eachSample(ctx, ask, "yagura_posture_check_result", at, func(labels map[string]string, v float64) {
		m.results[checkKey{labels["instance"], labels["check"], labels["severity"]}] = v
	})
	if err != nil {
		return nil, err
	}
	return m, eachSample(ctx, ask, "yagura_posture_score", at, func(labels map[string]string, v float64) {
		m.scores[scoreKey{labels["instance"], labels["framework"]}] = v
	})
}

func eachSample(ctx context.Context, ask askFunc, expr, at string, yield func(labels map[string]string, v float64)) error {
	var raw bytes.Buffer
	if err := ask(ctx, &raw, expr, at); err != nil {
		return err
	}
	var answer struct {
		Type   string `json:"resultType"`
		Result []struct {
			Metric map[string]string `json:"metric"`
			Value  [2]any            `json:"value"`
		} `json:"result"`
	}
	if raw.Len() > maxAnswer {
		return fmt.Errorf("the answer to %s has %d bytes: want at most %d", expr, raw.Len(), maxAnswer)
	}
	if err := json.Unmarshal(raw.Bytes(), &answer); err != nil {
		return fmt.Errorf("read the answer to %s: %w", expr, err)
	}
	for _, s := range answer.Result {
		text, _ := s.Value[1].(string)
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("read the answer to %s: %q is no number", expr, text)
		}
		yield(s.Metric, v)
	}
	return nil
}

func changesBetween(from, to *postureMoment) (all []postureChange) {
	keys := maps.Clone(from.results)
	maps.Copy(keys, to.results)
	for key := range keys {
		before, after := resultName(from.results, key), resultName(to.results, key)
		if before != after {
			all = append(all, postureChange{key.instance, key.check, key.severity, before, after})
		}
	}
	slices.SortFunc(all, func(a, b postureChange) int {
		return cmp.Or(cmp.Compare(a.Instance, b.Instance), cmp.Compare(rankOfChange(a), rankOfChange(b)), cmp.Compare(a.Check, b.Check))
	})
	return all
}

// rankOfChange puts what is worse first: what fails now, what is not known any more, what passes now.
func rankOfChange(c postureChange) int {
	return slices.Index([]string{"fail", notAssessed, "pass"}, c.To)
}

const notAssessed = "not assessed"

func resultName(results map[checkKey]float64, key checkKey) string {
	switch v, ok := results[key]; {
	case !ok:
		return notAssessed
	case v == 1:
		return "pass"
	}
	return "fail"
}

func scoresBetween(from, to *postureMoment) (all []scoreChange) {
	keys := maps.Clone(from.scores)
	maps.Copy(keys, to.scores)
	at := func(scores map[scoreKey]float64, key scoreKey) *float64 {
		if v, ok := scores[key]; ok {
			return &v
		}
		return nil
	}
	for key := range keys {
		all = append(all, scoreChange{key.instance, key.framework, at(from.scores, key), at(to.scores, key)})
	}
	slices.SortFunc(all, func(a, b scoreChange) int {
		return cmp.Or(cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Framework, b.Framework))
	})
	return all
}

func writePostureDiff(w io.Writer, format string, changes []postureChange, scores []scoreChange) error {
	switch format {
	case "json":
		return writePostureJSON(w, map[string]any{"checks": append([]postureChange{}, changes...), "scores": append([]scoreChange{}, scores...)})
	case "csv":
		out := csv.NewWriter(w)
		_ = out.Write([]string{"instance", "check", "severity", "from", "to"}) // Error tells
		for _, c := range changes {
			_ = out.Write([]string{c.Instance, c.Check, c.Severity, c.From, c.To})
		}
		out.Flush()
		return out.Error()
	}
	t := newTable(w, "INSTANCE", "FRAMEWORK", "SCORE BEFORE", "SCORE AFTER")
	for _, s := range scores {
		t.row(dash(s.Instance), s.Framework, shownScore(s.From), shownScore(s.To))
	}
	if len(changes) > 0 {
		fmt.Fprintf(t, "\nINSTANCE\tCHECK\tSEVERITY\tBEFORE\tAFTER\n")
	}
	for _, c := range changes {
		t.row(dash(c.Instance), c.Check, c.Severity, c.From, c.To)
	}
	fmt.Fprintf(t, "\n%d checks have changed.\n", len(changes))
	return t.Flush()
}

func shownScore(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f", *v)
}
