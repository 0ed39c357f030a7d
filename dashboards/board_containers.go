package dashboards

// containerBoard is all workloads beside each other: who uses what, and who lacks what.
func containerBoard() Board {
	const who = "{{namespace}} {{pod}} {{container}}{{unit}}"
	worst := func(name, legend string) []Query { return []Query{Q(name, legend).With("top", "1")} }
	to := []Link{ToWorkload()}
	return Board{
		UID: "yagura-containers", Title: "Yagura / Containers",
		Description: "All containers and units beside each other: who uses CPU, memory and disks, who lacks them, and who restarts.",
		Tags:        []string{"workloads"}, Variables: Workload(),
		Annotations: []Annotation{hitMarks(), fileMarks()},
		Rows: []Row{
			{Panels: []Panel{
				{View: Stat{Named: true}, Queries: []Query{Q("container_count", "{{runtime}}")}},
				{Title: "Most restarts", View: Stat{Plain: true, Named: true}, Queries: []Query{Q("container_restarts", who).With("top", "1").With("window", "30m").MayBeEmpty("nothing may restart")},
					Thresholds: Above("WorkloadCrashLoops"), Links: to},
				{View: Stat{Plain: true, Named: true}, Queries: []Query{Q("oom_kills_recent", who).With("top", "1").With("window", "15m").MayBeEmpty("nothing may be killed")},
					Thresholds: Above("WorkloadOOMKilled"), Links: to},
				{Title: "Nearest to its memory limit", View: Stat{Plain: true, Named: true}, Queries: worst("container_memory_vs_limit", who), Thresholds: Above("WorkloadMemoryNearLimit"), Links: to},
				{Title: "Most throttled", View: Stat{Plain: true, Named: true}, Queries: worst("container_cpu_throttled", who), Thresholds: Above("WorkloadCPUThrottled"), Links: to},
				{Title: "Waits most for CPU", View: Stat{Plain: true, Named: true}, Queries: worst("container_cpu_wait", who), Thresholds: Above("WorkloadCPUStarved"), Links: to},
			}},
			{Title: "CPU", Panels: []Panel{
				{View: TimeSeries{Stacked: true}, Queries: []Query{Q("container_cpu_top", who)}, Links: to},
				{View: TimeSeries{Max: 1}, Queries: []Query{Q("container_cpu_wait", who)}, Thresholds: Above("WorkloadCPUStarved"), Links: to},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("container_cpu_vs_limit", who)}, Thresholds: Above("WorkloadCPUNearLimit"), Links: to},
				{View: TimeSeries{Max: 1}, Width: 8, Queries: []Query{Q("container_cpu_throttled", who)}, Thresholds: Above("WorkloadCPUThrottled"), Links: to},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("container_run_queue_latency", who)}, Links: to},
			}},
			{Title: "Memory", Panels: []Panel{
				{View: TimeSeries{Stacked: true}, Queries: []Query{Q("container_memory_top", who)}, Links: to},
				{View: TimeSeries{}, Queries: []Query{Q("container_memory_vs_limit", who)}, Thresholds: Above("WorkloadMemoryNearLimit"), Links: to},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("container_memory_growth", who).MayBeEmpty("no workload may grow")}, Links: to},
				{View: TimeSeries{Bars: true}, Width: 8, Queries: []Query{Q("container_memory_limit_hits", who).With("window", "$__rate_interval").MayBeEmpty("no workload may hit its limit")}, Links: to},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("container_swap_top", who).MayBeEmpty("nothing may be swapped out")}, Links: to},
			}},
			{Title: "Nearest to a limit", Panels: []Panel{
				{View: BarGauge{}, Queries: []Query{Q("container_saturation_top", "{{resource}} "+who)}, Links: to},
				{View: BarGauge{}, Queries: []Query{Q("container_pids_used", who).MayBeEmpty("no workload may have a limit of threads")}, Thresholds: Above("WorkloadPidsNearLimit"), Links: to},
				{View: BarGauge{}, Queries: []Query{Q("descriptors_used", who)}, Thresholds: Above("WorkloadDescriptorsNearLimit"), Links: to},
			}},
			{Title: "I/O", Folded: true, Panels: []Panel{
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("container_writes_top", who+" {{device}}").MayBeEmpty("nobody may write")}, Links: to},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("container_disk_top", who+" {{operation}}").MayBeEmpty("nobody may use a disk")}, Links: to},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("container_disk_operations_top", who+" {{operation}}").MayBeEmpty("nobody may use a disk")}, Links: to},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("container_disk_latency", who+" {{device}} {{operation}}").MayBeEmpty("nobody may use a disk")}, Links: to},
				{View: TimeSeries{Max: 1}, Width: 8, Queries: []Query{Q("container_io_wait", who).MayBeEmpty("a kernel may not say what waits for I/O")}, Links: to},
				{View: TimeSeries{Bars: true}, Width: 8, Queries: []Query{Q("container_disk_errors", who+" {{device}} {{operation}}").With("window", "$__rate_interval").MayBeEmpty("no device may fail")}, Links: to},
				{View: BarGauge{}, Width: 24, Queries: []Query{Q("container_volume_left", who+" {{mountpoint}}").MayBeEmpty("no container may have a volume")}, Thresholds: Below("ContainerVolumeFull"), Links: to},
			}},
			{Title: "What happened", Folded: true, Panels: []Panel{
				{View: TimeSeries{Bars: true}, Width: 8, Queries: []Query{Q("container_restarts", who).With("window", "$__rate_interval").MayBeEmpty("nothing may restart")}, Links: to},
				{View: TimeSeries{Bars: true}, Width: 8, Queries: []Query{Q("oom_kills_recent", who).With("window", "$__rate_interval").MayBeEmpty("nothing may be killed")}, Thresholds: Above("WorkloadOOMKilled"), Links: to},
				{View: TimeSeries{Bars: true}, Width: 8, Queries: []Query{Q("process_crashes", who+" {{signal}}").With("window", "$__rate_interval").MayBeEmpty("nothing may crash")}, Thresholds: Above("WorkloadProcessCrashed"), Links: to},
				{View: Table{Columns: []Column{{Field: "namespace", Title: "Namespace"}, {Field: "pod", Title: "Pod"}, {Field: "container", Title: "Container", Links: to},
					{Field: "unit", Title: "Unit"}, {Field: "reason", Title: "Why"}}}, Width: 10, Queries: []Query{Q("container_last_exit", "").MayBeEmpty("nothing may have ended")}},
				{View: Table{Sort: "Age", Columns: []Column{{Field: "namespace", Title: "Namespace"}, {Field: "pod", Title: "Pod"}, {Field: "container", Title: "Container", Links: to},
					{Field: "unit", Title: "Unit"}, {Field: "A", Title: "Age", Unit: "seconds"}}}, Width: 14, Queries: []Query{Q("container_youngest", "")}},
			}},
			{Title: "Which there are", Folded: true, Panels: []Panel{
				{View: Table{Columns: []Column{{Field: "namespace", Title: "Namespace"}, {Field: "pod", Title: "Pod"}, {Field: "container", Title: "Container", Links: to},
					{Field: "image", Title: "Image"}, {Field: "runtime", Title: "Runtime"}, {Field: "owner_kind", Title: "Owner"}, {Field: "owner_name", Title: "Name of the owner"}}},
					Width: 16, Queries: []Query{Q("container_list", "").MayBeEmpty("no container may run")}},
				{View: BarGauge{}, Height: 9, Queries: []Query{Q("container_images", "{{image}}").MayBeEmpty("no container may run")}},
				{View: StateTimeline{}, Width: 12, Queries: []Query{Q("container_runtime_up", "{{runtime}}")}, Mappings: YesNo("answers", "green", "silent", "red")},
				{View: BarGauge{}, Width: 12, Queries: []Query{Q("container_memory_unlimited", who).MayBeEmpty("every container may have a limit")}, Links: to},
			}},
		},
	}
}
