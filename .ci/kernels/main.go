// Command kernels boots the kernels of kernels.txt under qemu, runs the truth tests of one or more packages in each,
// and keeps the table of what every kernel supports. It knows nothing of what the tests test: they print their cells.
//
// Usage: kernels [flags] PACKAGE…
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

type options struct {
	list, sources, cache, out string
	table, live               string
	run, only                 string
	modules                   string
	timeout                   time.Duration
	atOnce, memory            int
	fetchOnly, update         bool
	packages                  []string
}

func main() {
	var o options
	flag.StringVar(&o.list, "list", ".ci/kernels/kernels.txt", "which kernels to boot")
	flag.StringVar(&o.sources, "sources", ".ci/kernels/sources.list", "where apt finds their packages")
	flag.StringVar(&o.cache, "cache", "build/kernels", "where kernels are kept between runs")
	flag.StringVar(&o.out, "out", "build/test", "where results go, as go test -json writes them")
	flag.StringVar(&o.table, "table", "bpf/KERNELS.md", "the table of what each kernel supports; empty for none")
	flag.StringVar(&o.live, "live", "", "go test -json output of the same tests on the running kernel")
	flag.StringVar(&o.run, "run", "^TestTruth", "which tests to run in the guest")
	flag.StringVar(&o.only, "only", "", "boot only this kernel of the list")
	flag.StringVar(&o.modules, "modules", "overlay,veth,sch_netem,loop,tls,ghash-generic,ctr,gcm,xfs,btrfs", "modules that a guest loads before the tests")
	flag.DurationVar(&o.timeout, "timeout", 12*time.Minute, "how long one boot may take")
	flag.IntVar(&o.atOnce, "at-once", 2, "how many guests may run at a time")
	flag.IntVar(&o.memory, "memory", 1024, "memory of a guest in MiB")
	flag.BoolVar(&o.fetchOnly, "fetch", false, "fetch the kernels and stop")
	flag.BoolVar(&o.update, "update", false, "write the table instead of comparing with it")
	flag.Parse()
	o.packages = flag.Args()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	kernels, err := readList(o.list)
	if err != nil {
		return err
	}
	kernels = selected(kernels, o.only)
	if err := fetch(ctx, kernels, o); err != nil {
		return err
	}
	if o.fetchOnly {
		return nil
	}
	if len(o.packages) == 0 {
		return errors.New("name the packages whose tests are to run in the guests")
	}
	image, err := buildInitramfs(ctx, o)
	if err != nil {
		return err
	}
	boots := plan(kernels)
	bootAll(ctx, boots, image, o)
	return report(boots, o)
}

func selected(kernels []*kernel, name string) []*kernel {
	if name == "" {
		return kernels
	}
	var some []*kernel
	for _, k := range kernels {
		if k.name == name {
			some = append(some, k)
		}
	}
	return some
}

// A boot is one kernel with one cgroup layout, and what came of it.
type boot struct {
	*kernel
	layout  string
	release string
	frames  []frame
	took    time.Duration
	err     error
}

// column is the heading in the table and the package name in results: patch versions come and go, so they are left out.
func (b *boot) column() string {
	name := b.name
	if v := majorMinor(b.release); v != "" {
		name = v
	}
	if b.layout != "v2" {
		name += " cgroup " + b.layout
	}
	return name
}

func plan(kernels []*kernel) []*boot {
	var boots []*boot
	for _, k := range kernels {
		for _, layout := range k.layouts {
			boots = append(boots, &boot{kernel: k, layout: layout})
		}
	}
	return boots
}

func bootAll(ctx context.Context, boots []*boot, image string, o options) {
	free := make(chan struct{}, o.atOnce)
	var wg sync.WaitGroup
	for _, b := range boots {
		if b.missing != "" {
			continue
		}
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			b.run(ctx, image, o)
		})
	}
	wg.Wait()
}

// report writes one file of results per boot and settles the table.
func report(boots []*boot, o options) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	t := newTable()
	for _, b := range boots {
		name := "kernel-" + strings.ReplaceAll(b.column(), " ", "-") + ".json"
		if err := b.writeResults(filepath.Join(o.out, name)); err != nil {
			return err
		}
		for _, f := range b.frames {
			t.addText(b.column(), f.output)
		}
		fmt.Fprintln(os.Stderr, "  ", b.summary())
	}
	if o.table == "" {
		return nil
	}
	if o.live != "" {
		if err := t.addLive(o.live); err != nil {
			return err
		}
	}
	if o.update {
		return t.write(o.table)
	}
	return t.writeResults(filepath.Join(o.out, "kernel-table.json"), o.table)
}

func (b *boot) summary() string {
	what := fmt.Sprintf("kernel %-15s", b.column())
	switch {
	case b.missing != "":
		return what + " skipped: " + b.missing
	case b.err != nil:
		return fmt.Sprintf("%s %s after %.1f s: %v", what, b.release, b.took.Seconds(), b.err)
	}
	return fmt.Sprintf("%s %s booted, tested and gone in %.1f s", what, b.release, b.took.Seconds())
}
