package dashboards

// agent is Yagura itself: whether it sees all, and what it costs.
func agent() Board {
	const each = "{{instance}}"
	return Board{
		UID: "yagura-agent", Title: "Yagura / Agent health",
		Description: "Yagura itself: whether it sees everything, what it had to leave out, and what it costs.",
		Tags:        []string{"meta"},
		Rows: []Row{
			{Panels: []Panel{
				{View: Stat{}, Queries: []Query{Q("agent_up", each)}, Mappings: YesNo("up", "green", "down", "red")},
				{View: Stat{}, Queries: []Query{Q("agent_collectors_worst", each).With("window", "15m")}, Thresholds: Below("YaguraCollectorFails")},
				{View: Stat{}, Queries: []Query{Q("security_events_lost", "")}, Thresholds: From("green", 0.001, "red")},
				{View: Stat{}, Queries: []Query{Q("agent_node_series_used", each)}, Thresholds: Above("YaguraSeriesNearLimit")},
				{View: Stat{}, Queries: []Query{Q("agent_cpu", each)}, Thresholds: Above("YaguraCPUHigh")},
				{View: Stat{}, Queries: []Query{Q("agent_memory", each)}, Thresholds: Above("YaguraMemoryHigh")},
			}},
			{Title: "Does it see everything?", Panels: []Panel{
				{View: TimeSeries{Stacked: true}, Queries: []Query{Q("security_events", "{{kind}}")}},
				{View: TimeSeries{Bars: true, Stacked: true}, Queries: []Query{Q("agent_events_lost", "{{kind}} {{stage}}").With("window", "$__rate_interval").MayBeEmpty("no event may be lost")}},
				{View: TimeSeries{Max: 1}, Width: 8, Queries: []Query{Q("agent_ring_buffer_used", each)}},
				{View: BarGauge{}, Queries: []Query{Q("edge_coverage", "{{state}}")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("agent_requests_unmatched", "{{protocol}} {{reason}}").MayBeEmpty("every message may have made a request")}},
				{View: Table{Columns: []Column{{Field: "instance", Title: "Machine"}, {Field: "probe", Title: "Probe refused"}}}, Width: 8, Height: 7,
					Queries: []Query{Q("agent_probes_refused", "").MayBeEmpty("no probe may be refused")}},
				{View: Table{Columns: []Column{{Field: "instance", Title: "Machine"}, {Field: "collector", Title: "Collector that fails"}}}, Width: 8, Height: 7,
					Queries: []Query{Q("agent_collectors_failing", "").MayBeEmpty("no collector may fail")}},
				{View: TimeSeries{Bars: true}, Width: 8, Height: 7, Queries: []Query{Q("agent_kernel_tables_full", "{{map}}").With("window", "$__rate_interval").MayBeEmpty("no table may be full")}, Thresholds: Above("YaguraKernelTableFull")},
			}},
			{Title: "What does it cost?", Panels: []Panel{
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("agent_cpu", each)}, Thresholds: Above("YaguraCPUHigh")},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("agent_memory", each)}, Thresholds: Above("YaguraMemoryHigh")},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("agent_map_memory_total", each)}, Thresholds: Above("YaguraKernelMemoryHigh")},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("security_rule_time", each)}},
				{View: BarGauge{}, Queries: []Query{Q("agent_collector_slowest", "{{collector}}")}},
				{View: BarGauge{}, Queries: []Query{Q("agent_map_memory", "{{map}}")}},
			}},
			{Title: "Kernel programs", Folded: true, Panels: []Panel{
				{View: TimeSeries{Stacked: true}, Width: 8, Queries: []Query{Q("agent_bpf_cpu", "{{program}}").MayBeEmpty("counted while kernel.program_stats is on")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("agent_bpf_cost", "{{program}}").MayBeEmpty("counted while kernel.program_stats is on")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("agent_probes_attached", each)}},
				{View: TimeSeries{Max: 1}, Width: 8, Queries: []Query{Q("agent_workload_slots_used", each)}, Thresholds: Above("YaguraWorkloadSlotsNearLimit")},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("agent_process_table", "{{state}}")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("agent_process_misses", each)}},
			}},
			{Title: "Series", Folded: true, Panels: []Panel{
				{View: BarGauge{}, Queries: []Query{Q("agent_series_near_cap", "{{metric}}")}, Thresholds: Above("YaguraSeriesNearLimit")},
				{View: BarGauge{}, Queries: []Query{Q("agent_series_top", "{{metric}}")}},
				{View: TimeSeries{Bars: true}, Width: 8, Queries: []Query{Q("agent_series_folded", "{{metric}}").With("window", "$__rate_interval").MayBeEmpty("nothing may be beyond a cap")}, Thresholds: Above("YaguraSeriesFolded")},
				{View: TimeSeries{Bars: true}, Width: 12, Queries: []Query{Q("agent_names_lost", "{{what}} {{reason}}").With("window", "$__rate_interval").MayBeEmpty("every name may be known")}},
				{View: TimeSeries{Bars: true}, Width: 12, Queries: []Query{Q("security_alerts_lost", "{{output}} {{reason}}").MayBeEmpty("there may be no output")}},
			}},
			{Title: "The program", Folded: true, Panels: []Panel{
				{View: StateTimeline{}, Width: 12, Queries: []Query{Q("agent_config_reload_ok", each)}, Mappings: YesNo("loaded", "green", "refused", "orange")},
				{View: Table{Columns: []Column{{Field: "instance", Title: "Machine"}, {Field: "version", Title: "Version"}, {Field: "revision", Title: "Revision"},
					{Field: "goversion", Title: "Go"}, {Field: "goarch", Title: "Architecture"}}}, Width: 12, Height: 8, Queries: []Query{Q("agent_version", "")}},
				{View: TimeSeries{}, Width: 12, Queries: []Query{Q("agent_goroutines", each)}},
				{View: TimeSeries{Max: 1}, Width: 12, Queries: []Query{Q("agent_descriptors_used", each)}},
			}},
		},
	}
}
