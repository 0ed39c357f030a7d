package exporter

import (
	"github.com/yagura-io/yagura/rules/event"
)

// maxFactSeries bounds the series of facts, numbers and texts together.
const maxFactSeries = 2000

// postureFacts are facts as series, for what relates two of them or asks for history: that is PromQL's.
type postureFacts struct {
	number, text, dropped *Family
	sent, more            int
}

func newPostureFacts() *postureFacts {
	return &postureFacts{
		number: NewGauge("yagura_posture_fact",
			"A field of a fact that is a number, 1 or 0 for what is so or not, or how many there are of a list; of the kinds in posture.facts.",
			"fact", "subject", "field").Fixed().NotAdditive(),
		text: NewGauge("yagura_posture_fact_info",
			"1, for each field of a fact that is a text; of the kinds in posture.facts.", "fact", "subject", "field", "value").Fixed(),
		dropped: NewGauge("yagura_posture_facts_dropped",
			"Fields of facts, and facts, of the last run that are no series because there are too many.").Fixed(),
	}
}

func (p *postureFacts) families() []*Family { return []*Family{p.number, p.text, p.dropped} }

func (p *postureFacts) set(r *event.Posture) {
	p.sent, p.more = 0, r.Unknown
	for i := range r.Known {
		f := &r.Known[i]
		for j := range f.Kind.Fields {
			p.field(f, f.Kind.Fields[j].Name)
		}
	}
	p.dropped.Set(event.Workload{}, float64(p.more))
}

func (p *postureFacts) field(f *event.Fact, name string) {
	value, known := f.Values[name]
	if !known {
		return
	}
	if p.sent == maxFactSeries {
		p.more++
		return
	}
	p.sent++
	var host event.Workload
	switch v := value.(type) {
	case string:
		p.text.Set(host, 1, f.Kind.Name, f.Subject, name, v)
	case int64:
		p.number.Set(host, float64(v), f.Kind.Name, f.Subject, name)
	case bool:
		p.number.Set(host, oneIf(v), f.Kind.Name, f.Subject, name)
	case []string:
		p.number.Set(host, float64(len(v)), f.Kind.Name, f.Subject, name)
	}
}
