package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// An AlertFormat says how hits are written: as one line of text, or as one JSON object with the members that Falco's have.
type AlertFormat struct {
	JSON         bool `yaml:"json"`
	Output       bool `yaml:"include_output"`        // JSON: the whole line of text
	Message      bool `yaml:"include_message"`       // JSON: the line without time and priority
	OutputFields bool `yaml:"include_output_fields"` // JSON
	Tags         bool `yaml:"include_tags"`          // JSON
	ISO8601      bool `yaml:"iso_8601"`              // times in lines of text: by ISO 8601 in UTC, else local without a date
	hostname     string
}

// DefaultAlertFormat is JSON with all members but message.
var DefaultAlertFormat = AlertFormat{JSON: true, Output: true, OutputFields: true, Tags: true}

// alert is a hit as Falco writes it, its members in Falco's order.
type alert struct {
	Hostname string          `json:"hostname"`
	Message  *string         `json:"message,omitempty"`
	Output   *string         `json:"output,omitempty"`
	Fields   json.RawMessage `json:"output_fields,omitempty"`
	Priority string          `json:"priority"`
	Rule     string          `json:"rule"`
	Source   string          `json:"source"`
	Tags     *[]string       `json:"tags,omitempty"`
	Time     string          `json:"time"`
}

// Append appends a hit and a line break.
func (f *AlertFormat) Append(to []byte, h *event.Hit) ([]byte, error) {
	line := f.line(h)
	if !f.JSON {
		return append(append(to, line...), '\n'), nil
	}
	a := alert{Hostname: f.hostname, Priority: h.Rule.Priority.String(), Rule: h.Rule.Name, Source: h.Rule.Source,
		Time: h.Time.UTC().Format("2006-01-02T15:04:05.000000000Z")}
	if f.Output {
		a.Output = &line
	}
	if f.Message {
		a.Message = &h.Output
	}
	if f.Tags {
		tags := append([]string{}, h.Rule.Tags...) // never null
		slices.Sort(tags)
		a.Tags = &tags
	}
	var err error
	if f.OutputFields {
		if a.Fields, err = appendFields(nil, h); err != nil {
			return to, err
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(a); err != nil {
		return to, fmt.Errorf("write a hit of %q: %w", h.Rule.Name, err)
	}
	return append(to, b.Bytes()...), nil
}

// line is the hit as text: when, how urgent, and what happened.
func (f *AlertFormat) line(h *event.Hit) string {
	at := h.Time.Local().Format("15:04:05.000000000")
	if f.ISO8601 {
		at = h.Time.UTC().Format("2006-01-02T15:04:05.000000000+0000")
	}
	return at + ": " + h.Rule.Priority.String() + " " + h.Output
}

// times are the fields that say when the event was. As JSON all are its time in nanoseconds since 1970, whatever they print.
var times = []string{"evt.time", "evt.time.s", "evt.time.iso8601", "evt.datetime", "evt.datetime.s", "evt.outputtime"}

// appendFields writes the fields in their order, first the event's time.
func appendFields(to []byte, h *event.Hit) ([]byte, error) {
	to = append(to, fmt.Sprintf(`{"evt.time":%d`, h.Time.UnixNano())...)
	for _, field := range h.Fields {
		if field.Name == "evt.time" {
			continue
		}
		value := field.Value
		if at, ok := value.(time.Time); ok {
			value = at.UnixNano()
		}
		if slices.Contains(times, field.Name) {
			value = h.Time.UnixNano()
		}
		name, err := json.Marshal(field.Name)
		if err != nil {
			return to, err
		}
		text, err := json.Marshal(value)
		if err != nil {
			return to, fmt.Errorf("field %s: %w", field.Name, err)
		}
		to = append(append(append(append(to, ','), name...), ':'), text...)
	}
	return append(to, '}'), nil
}
