package dashboards

// node is a machine by its resources: of each how much is used, how much is lacking, and what fails.
func node() Board {
	const each = "{{instance}}"
	return Board{
		UID: "yagura-node", Title: "Yagura / Node",
		Description: "A machine by its resources: of CPU, memory, disks and network how much is used, who waits for it, and what fails.",
		Tags:        []string{"node"}, Source: "node_boot_time_seconds",
		Annotations: []Annotation{fileMarks()},
		Rows: []Row{
			{Panels: []Panel{
				{View: Stat{}, Queries: []Query{Q("node_cpu_busy", each)}},
				{View: Stat{}, Queries: []Query{Q("node_cpu_pressure", each)}, Thresholds: Above("NodeCPUSaturated")},
				{View: Stat{}, Queries: []Query{Q("node_memory_left", each)}, Thresholds: Below("NodeMemoryLow")},
				{View: Stat{}, Queries: []Query{Q("node_filesystem_least_left", each)}, Thresholds: Below("NodeFilesystemAlmostFull", "NodeFilesystemFull")},
				{View: Stat{}, Queries: []Query{Q("node_io_stalled", each)}, Thresholds: Above("NodeIOStalled")},
				{View: Stat{Plain: true}, Queries: []Query{Q("node_uptime", each)}},
			}},
			{Title: "CPU", Panels: []Panel{
				{View: TimeSeries{Stacked: true}, Queries: []Query{Q("node_cpu_by_mode", "{{mode}}")}},
				{View: TimeSeries{Max: 1}, Width: 6, Queries: []Query{Q("node_cpu_pressure", each)}, Thresholds: Above("NodeCPUSaturated")},
				{View: TimeSeries{}, Width: 6, Queries: []Query{Q("node_load_per_cpu", each)}, Thresholds: Above("NodeLoadHigh")},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("node_run_queue_latency", each)}, Thresholds: Above("NodeRunQueueSlow")},
				{View: TimeSeries{Max: 1}, Width: 8, Queries: []Query{Q("node_cpu_busiest_core", each)}},
				{View: TimeSeries{Stacked: true}, Width: 8, Queries: []Query{Q("container_cpu_top", "{{pod}} {{container}}{{unit}}")}, Links: []Link{ToWorkload()}},
			}},
			{Title: "Memory", Panels: []Panel{
				{View: TimeSeries{Stacked: true}, Queries: []Query{Q("node_memory_parts", "{{kind}}")}},
				{View: TimeSeries{Max: 1}, Width: 6, Queries: []Query{Q("node_memory_pressure", each)}, Thresholds: Above("NodeMemoryPressure")},
				{View: TimeSeries{Max: 1}, Width: 6, Queries: []Query{Q("node_memory_stalled", each)}, Thresholds: Above("NodeMemoryStalled")},
			}},
			{Title: "Disks", Panels: []Panel{
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("node_disk_throughput", "{{device}} {{operation}}")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("node_disk_latency", "{{device}} {{operation}}")}, Thresholds: Above("NodeDiskSlow")},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("node_disk_queue", "{{device}}")}, Thresholds: Above("NodeDiskSaturated")},
				{View: BarGauge{}, Width: 12, Queries: []Query{Q("node_filesystem_left", "{{volume}}")}, Thresholds: Below("NodeFilesystemAlmostFull", "NodeFilesystemFull")},
				{View: TimeSeries{Max: 1}, Queries: []Query{Q("node_io_stalled", each)}, Thresholds: Above("NodeIOStalled")},
			}},
			{Title: "More of CPU and memory", Folded: true, Panels: []Panel{
				{View: TimeSeries{Max: 1}, Width: 8, Queries: []Query{Q("node_cpu_steal", each)}, Thresholds: Above("NodeCPUStolen")},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("node_context_switches", each)}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("node_interrupts", each)}},
				{View: TimeSeries{Max: 1}, Width: 8, Queries: []Query{Q("node_swap_used", each).MayBeEmpty("a machine may have no swap")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("node_swap_traffic", each)}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("node_major_faults", each)}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("node_memory_committed", each)}},
				{View: TimeSeries{Bars: true}, Width: 8, Queries: []Query{Q("node_oom_kills", each)}, Thresholds: Above("NodeOOMKill")},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("node_forks", each)}},
			}},
			{Title: "More of disks", Folded: true, Panels: []Panel{
				{View: TimeSeries{Max: 1}, Width: 8, Queries: []Query{Q("node_disk_busy", "{{device}}")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("node_disk_operations", "{{device}} {{operation}}")}},
				{View: TimeSeries{Max: 1}, Width: 8, Queries: []Query{Q("node_io_pressure", each)}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("node_processes_blocked", each)}, Thresholds: Above("NodeProcessesStuck")},
				{View: BarGauge{}, Queries: []Query{Q("node_filesystem_files_left", "{{volume}}")}, Thresholds: Below("NodeFilesystemInodesAlmostFull", "NodeFilesystemInodesFull")},
				{View: BarGauge{}, Queries: []Query{Q("node_filesystem_full_in", "{{volume}}").MayBeEmpty("no file system may fill")}},
				{View: Table{Columns: []Column{{Field: "instance", Title: "Machine"}, {Field: "device", Title: "Device"}, {Field: "mountpoint", Title: "Mounted at"}, {Field: "volume", Title: "Volume"},
					{Field: "fstype", Title: "Type"}, {Field: "kind", Title: "Trouble"}}}, Width: 24, Height: 6,
					Queries: []Query{Q("node_filesystem_trouble", "").MayBeEmpty("no file system may be in trouble")}},
			}},
			{Title: "Network", Folded: true, Panels: []Panel{
				{View: TimeSeries{}, Queries: []Query{Q("node_network_throughput", "{{device}} {{direction}}")}},
				{View: TimeSeries{}, Queries: []Query{Q("node_network_packets", "{{device}} {{direction}}")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("node_network_errors", "{{device}} {{kind}}")}},
				{View: TimeSeries{Max: 1}, Width: 8, Queries: []Query{Q("node_network_used", "{{device}}").MayBeEmpty("virtual interfaces have no speed")}, Thresholds: Above("NodeNetworkSaturated")},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("network_drops", "{{reason}}")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("node_tcp_retransmits", each)}, Thresholds: Above("NodeTCPRetransmits")},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("node_tcp_connections", "{{kind}}")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("node_listen_drops", each)}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("node_udp_errors", "{{kind}}")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("node_softnet_drops", "{{kind}}")}},
				{View: TimeSeries{Max: 1}, Width: 8, Queries: []Query{Q("node_conntrack_used", each).MayBeEmpty("a machine without conntrack has no table")}, Thresholds: Above("NodeConntrackAlmostFull")},
			}},
			{Title: "System", Folded: true, Panels: []Panel{
				{View: Table{Columns: []Column{{Field: "instance", Title: "Machine"}, {Field: "nodename", Title: "Name"}, {Field: "sysname", Title: "System"},
					{Field: "release", Title: "Kernel"}, {Field: "version", Title: "Version"}, {Field: "machine", Title: "Architecture"}}}, Width: 24, Height: 5,
					Queries: []Query{Q("node_info", "")}},
				{View: StateTimeline{}, Width: 8, Height: 7, Queries: []Query{Q("node_clock_synced", each)}, Mappings: YesNo("follows a reference", "green", "runs free", "orange")},
				{View: TimeSeries{}, Width: 8, Height: 7, Queries: []Query{Q("node_clock_offset", each)}, Thresholds: Above("NodeClockOff")},
				{View: TimeSeries{Max: 1}, Width: 8, Height: 7, Queries: []Query{Q("node_descriptors_used", each)}, Thresholds: Above("NodeFilesAlmostExhausted")},
				{View: TimeSeries{}, Width: 24, Height: 7, Queries: []Query{Q("node_temperature", "{{chip}} {{sensor}}").MayBeEmpty("virtual machines have no sensors")}, Thresholds: Above("NodeTemperatureHigh")},
			}},
		},
	}
}
