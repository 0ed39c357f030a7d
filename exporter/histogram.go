package exporter

import (
	"fmt"
	"math"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/yagura-io/yagura/bpf"
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

// All kinds of histograms have as many bounds, so that one weight holds for all.
var _ = [1]struct{}{}[len(classicExponents)-bpf.RequestBounds]

// maxNativeExemplars bounds how many exemplars a histogram carries outside of its classic buckets.
const maxNativeExemplars = 10

// maxGap is how many empty buckets in a row are written out before a new span costs less.
const maxGap = 2

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

// A layout says what the counts of a histogram stand for. The first native bucket takes what is no more than 2^low seconds or
// bytes, and is shown as the zero bucket; the last one takes all that is above the others.
type layout struct {
	schema, low int
	native      int
	bounds      [len(classicExponents)]float64 // classic ones, in seconds or bytes
	ends        [len(classicExponents)]int     // the native bucket that ends at each of them
	apart       bool                           // no such: classic buckets have counts of their own, in front of the native ones
}

// powersOfTwo is the layout of Buckets.
var powersOfTwo = func() *layout {
	l := &layout{low: unitExponent, native: len(Buckets{}.Counts)}
	for i, exponent := range classicExponents {
		l.bounds[i], l.ends[i] = math.Ldexp(1, exponent), exponent-unitExponent
	}
	return l
}()

// sizes is the layout of bpf.Histogram where it counts bytes: classic bounds are the powers of four from 64 B to 16 MiB.
var sizes = func() *layout {
	const least = 6
	l := &layout{native: len(bpf.Histogram{}.Buckets)}
	for i := range l.bounds {
		l.bounds[i], l.ends[i] = math.Ldexp(1, least+2*i), least+2*i
	}
	return l
}()

// requestLayout is the layout of bpf.RequestTotals.
func requestLayout(bounds []float64) *layout {
	l := &layout{schema: bpf.NativeSchema, low: bpf.NativeLow, native: bpf.NativeBuckets, apart: true}
	if copy(l.bounds[:], bounds) != len(l.bounds) || len(bounds) != len(l.bounds) {
		panic(fmt.Sprintf("%d bounds of a histogram, want %d", len(bounds), len(l.bounds)))
	}
	return l
}

// classic is how many classic buckets are counted by themselves, +Inf's among them.
func (l *layout) classic() int {
	if !l.apart {
		return 0
	}
	return len(l.bounds) + 1
}

// A tally is a histogram that adds up: its classic buckets, where its layout has them apart, and then its native ones.
type tally struct {
	counts []uint64
	sum    float64
}

func (l *layout) newTally() *tally { return &tally{counts: make([]uint64, l.classic()+l.native)} }

func (t *tally) set(o *tally) {
	copy(t.counts, o.counts)
	t.sum = o.sum
}

// setCounts is set for counts that are not in a tally.
func (t *tally) setCounts(classic, native []uint64, sum float64) {
	copy(t.counts, classic)
	copy(t.counts[len(classic):], native)
	t.sum = sum
}

func (t *tally) addCounts(classic, native []uint64, sum float64) {
	for i, n := range classic {
		t.counts[i] += n
	}
	rest := t.counts[len(classic):]
	for i, n := range native {
		rest[i] += n
	}
	t.sum += sum
}

// addIncrease adds what has come to now since last, which may have begun anew.
func (t *tally) addIncrease(now, last *tally) {
	if now.restartedSince(last) {
		t.addCounts(nil, now.counts, now.sum)
		return
	}
	for i, n := range now.counts {
		t.counts[i] += n - last.counts[i]
	}
	t.sum += increase(now.sum, last.sum)
}

func (t *tally) restartedSince(last *tally) bool {
	for i, n := range t.counts {
		if n < last.counts[i] {
			return true
		}
	}
	return false
}

// raise makes every count at least that of o, and adds by how much to gain.
func (t *tally) raise(o, gain *tally) {
	for i, n := range o.counts {
		if n > t.counts[i] {
			gain.counts[i] += n - t.counts[i]
			t.counts[i] = n
		}
	}
	if o.sum > t.sum {
		gain.sum += o.sum - t.sum
		t.sum = o.sum
	}
}

// histogramParts is the memory that the cached histogram of one series points into.
type histogramParts struct {
	dto.Histogram
	count, zeros uint64
	sum          float64
	schema       int32
	threshold    float64
	bounds       [len(classicExponents) + 1]float64
	cumulative   [len(classicExponents) + 1]uint64
}

// newHistogram returns a histogram that is native and classic at once.
func (l *layout) newHistogram(created *timestamppb.Timestamp) *dto.Histogram {
	p := &histogramParts{schema: int32(l.schema), threshold: math.Ldexp(1, l.low)}
	h := &p.Histogram
	h.SampleCount, h.SampleSum, h.CreatedTimestamp = &p.count, &p.sum, created
	h.Schema, h.ZeroThreshold, h.ZeroCount = &p.schema, &p.threshold, &p.zeros
	for i := range p.bounds {
		p.bounds[i] = math.Inf(1)
		if i < len(l.bounds) {
			p.bounds[i] = l.bounds[i]
		}
		h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: &p.bounds[i], CumulativeCount: &p.cumulative[i]})
	}
	return h
}

// fill writes t into a cached histogram. The count is that of the native buckets. Where classic ones are counted apart,
// some requests may be in one and not in the other, as they were counted while they were read: +Inf's is the count, and
// no other exceeds it, so that everything adds up and nothing goes down.
func (l *layout) fill(h *dto.Histogram, t *tally) {
	classic, native := t.counts[:l.classic()], t.counts[l.classic():]
	total, bound := uint64(0), 0
	for i, n := range native {
		total += n
		if !l.apart && bound < len(l.ends) && i == l.ends[bound] {
			*h.Bucket[bound].CumulativeCount = total
			bound++
		}
	}
	if l.apart {
		below := uint64(0)
		for i := range l.bounds {
			below += classic[i]
			*h.Bucket[i].CumulativeCount = min(below, total)
		}
	}
	*h.Bucket[len(l.bounds)].CumulativeCount = total
	*h.SampleCount, *h.SampleSum, *h.ZeroCount = total, t.sum, native[0]
	fillNative(h, native, l.low<<l.schema)
}

// fillNative writes the buckets behind the zero bucket, whose index is zero: a span for each run of them, where a few
// empty ones do not end a run.
func fillNative(h *dto.Histogram, native []uint64, zero int) {
	h.PositiveSpan, h.PositiveDelta = h.PositiveSpan[:0], h.PositiveDelta[:0]
	before, end := int64(0), 0 // the count of the last bucket written, and the place behind it
	next := -zero              // the index at which a span without an offset would begin, from native[0] on
	for i, n := range native[1:] {
		if i++; n == 0 {
			continue
		}
		if gap := i - end; end > 0 && gap <= maxGap {
			for range gap {
				h.PositiveDelta = append(h.PositiveDelta, -before)
				before = 0
			}
			*h.PositiveSpan[len(h.PositiveSpan)-1].Length += uint32(gap)
		} else {
			addSpan(h, i-next)
		}
		h.PositiveDelta = append(h.PositiveDelta, int64(n)-before)
		*h.PositiveSpan[len(h.PositiveSpan)-1].Length++
		before, end, next = int64(n), i+1, i+1
	}
}

// addSpan begins a span without buckets. Spans of earlier passes are used again.
func addSpan(h *dto.Histogram, offset int) {
	n := len(h.PositiveSpan)
	if n == cap(h.PositiveSpan) {
		h.PositiveSpan = append(h.PositiveSpan, nil)
	}
	h.PositiveSpan = h.PositiveSpan[:n+1]
	if h.PositiveSpan[n] == nil {
		h.PositiveSpan[n] = &dto.BucketSpan{Offset: new(int32), Length: new(uint32)}
	}
	*h.PositiveSpan[n].Offset, *h.PositiveSpan[n].Length = int32(offset), 0
}

// showHistogram writes the counts of this pass into the cached dto object.
func (s *series) showHistogram(f *Family) {
	h := s.metric.Histogram
	if s.fold != nil {
		f.layout.fill(h, s.fold.histogram(f, &s.cell))
		return
	}
	if s.counts == nil {
		s.counts = f.layout.newTally()
	}
	before := *h.SampleCount
	f.layout.fill(h, s.counts)
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
