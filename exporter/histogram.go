package exporter

import (
	"math"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Buckets is a histogram as the kernel counts it, in powers of two of 2^-30 seconds. Its bounds are exact powers of two
// in seconds, so they are those of a native histogram of schema 0, and every classic bound is one of them.
type Buckets struct {
	Counts [40]uint64 // Counts[i]: 2^(i-31) s < duration <= 2^(i-30) s; Counts[0] all below, Counts[39] all above
	Sum    float64    // seconds
}

// unitExponent is the exponent of the upper bound of Counts[0].
const unitExponent = -30

// classicExponents are the classic bounds, as powers of two in seconds: close together where people look, wide where
// only the order of magnitude matters. From 0.95 µs to 16 s.
var classicExponents = [...]int{-20, -16, -13, -10, -8, -6, -4, -2, 0, 4}

// histogramWeight is how many series a classic histogram is to a server: the bounds, +Inf, sum and count.
const histogramWeight = len(classicExponents) + 3

// maxNativeExemplars bounds how many exemplars a histogram carries outside of its classic buckets.
const maxNativeExemplars = 10

// observe counts one duration.
func (b *Buckets) observe(d time.Duration) {
	bucket := 0
	if d > 0 {
		fraction, exponent := math.Frexp(d.Seconds()) // d = fraction * 2^exponent, 0.5 <= fraction < 1
		if fraction == 0.5 {
			exponent-- // an upper bound belongs to its bucket
		}
		bucket = min(max(exponent-unitExponent, 0), len(b.Counts)-1)
	}
	b.Counts[bucket]++
	b.Sum += d.Seconds()
}

func (b *Buckets) add(o *Buckets) {
	for i, n := range o.Counts {
		b.Counts[i] += n
	}
	b.Sum += o.Sum
}

// addIncrease adds what has come to now since last, which may have begun anew.
func (b *Buckets) addIncrease(now, last *Buckets) {
	if last == nil || now.restartedSince(last) {
		b.add(now)
		return
	}
	for i, n := range now.Counts {
		b.Counts[i] += n - last.Counts[i]
	}
	b.Sum += increase(now.Sum, last.Sum)
}

func (b *Buckets) restartedSince(last *Buckets) bool {
	for i, n := range b.Counts {
		if n < last.Counts[i] {
			return true
		}
	}
	return false
}

// raise makes every count at least that of o, and adds by how much to gain.
func (b *Buckets) raise(o, gain *Buckets) {
	for i, n := range o.Counts {
		if n > b.Counts[i] {
			gain.Counts[i] += n - b.Counts[i]
			b.Counts[i] = n
		}
	}
	if o.Sum > b.Sum {
		gain.Sum += o.Sum - b.Sum
		b.Sum = o.Sum
	}
}

// nativeParts is the memory that the cached histogram of one series points into.
type nativeParts struct {
	dto.Histogram
	count, zeros uint64
	sum          float64
	offset       int32
	length       uint32
	span         dto.BucketSpan
	spans        [1]*dto.BucketSpan
	deltas       [len(Buckets{}.Counts)]int64
	bounds       [len(classicExponents) + 1]float64
	cumulative   [len(classicExponents) + 1]uint64
}

// newHistogram returns a histogram that is native and classic at once. What is no longer than the smallest bound,
// zeros too, lies in the zero bucket, whose width is that bound.
func newHistogram(created *timestamppb.Timestamp) *dto.Histogram {
	p := &nativeParts{}
	schema, threshold := int32(0), math.Ldexp(1, unitExponent)
	p.span.Offset, p.span.Length = &p.offset, &p.length
	p.spans[0] = &p.span
	h := &p.Histogram
	h.SampleCount, h.SampleSum, h.CreatedTimestamp = &p.count, &p.sum, created
	h.Schema, h.ZeroThreshold, h.ZeroCount = &schema, &threshold, &p.zeros
	h.PositiveSpan, h.PositiveDelta = p.spans[:0], p.deltas[:0]
	for i := range p.bounds {
		p.bounds[i] = math.Inf(1)
		if i < len(classicExponents) {
			p.bounds[i] = math.Ldexp(1, classicExponents[i])
		}
		h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: &p.bounds[i], CumulativeCount: &p.cumulative[i]})
	}
	return h
}

// fillHistogram writes b into a cached histogram. Count, classic and native buckets come from the same numbers.
func fillHistogram(h *dto.Histogram, b *Buckets) {
	*h.SampleSum, *h.ZeroCount = b.Sum, b.Counts[0]
	total, bound := uint64(0), 0
	for i, n := range b.Counts {
		total += n
		if bound < len(classicExponents) && i+unitExponent == classicExponents[bound] {
			*h.Bucket[bound].CumulativeCount = total
			bound++
		}
	}
	*h.Bucket[bound].CumulativeCount = total
	*h.SampleCount = total
	fillNative(h, b)
}

// fillNative writes one span from the first to the last bucket that counted anything.
func fillNative(h *dto.Histogram, b *Buckets) {
	first, last := 1, len(b.Counts)-1
	for first <= last && b.Counts[first] == 0 {
		first++
	}
	for last >= first && b.Counts[last] == 0 {
		last--
	}
	h.PositiveDelta = h.PositiveDelta[:0]
	if first > last {
		h.PositiveSpan = h.PositiveSpan[:0]
		return
	}
	before := int64(0)
	for _, n := range b.Counts[first : last+1] {
		h.PositiveDelta = append(h.PositiveDelta, int64(n)-before)
		before = int64(n)
	}
	h.PositiveSpan = h.PositiveSpan[:1]
	*h.PositiveSpan[0].Offset = int32(first + unitExponent)
	*h.PositiveSpan[0].Length = uint32(last + 1 - first)
}

// showHistogram writes the counts of this pass into the cached dto object.
func (s *series) showHistogram(f *Family) {
	h := s.metric.Histogram
	if s.fold != nil {
		fillHistogram(h, s.fold.histogram(f, &s.cell))
		return
	}
	if s.counts == nil {
		s.counts = &Buckets{}
	}
	before := *h.SampleCount
	fillHistogram(h, s.counts)
	if *h.SampleCount < before {
		h.CreatedTimestamp = f.restartedAt()
	}
}

// exemplifyHistogram puts an exemplar into the classic bucket it belongs to, and into the list of the native form.
func exemplifyHistogram(h *dto.Histogram, e *dto.Exemplar) {
	for _, bucket := range h.Bucket {
		if e.GetValue() <= bucket.GetUpperBound() {
			bucket.Exemplar = e
			break
		}
	}
	if e.Timestamp == nil {
		return // the native form needs one
	}
	h.Exemplars = append(h.Exemplars, e)
	if len(h.Exemplars) > maxNativeExemplars {
		h.Exemplars = append(h.Exemplars[:0], h.Exemplars[1:]...)
	}
}

// increase is how much a counter has counted since last: all of it, if it began anew.
func increase(now, last float64) float64 {
	if now < last {
		return now
	}
	return now - last
}
