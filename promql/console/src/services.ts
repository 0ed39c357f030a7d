// Services as rows: what every workload answers and asks, by protocol.
import type { Labels, Sample } from './api.ts';
import { ask } from './ask.ts';
import { nameOf, type Workload, workloadOf } from './series.ts';

export interface Service {
  key: string;
  workload: Workload;
  name: string;
  role: string;
  protocol: string;
  rate: number;
  errors: number;
  p50: number;
  p95: number;
  p99: number;
  lack?: { resource: string; ratio: number };
}

export const serviceKey = (l: Labels) => [l.namespace, l.pod, l.container, l.unit, l.role, l.protocol].map((v) => v ?? '').join('\u0000');

/** The resource that a workload lacks most. */
export function mostLacking(saturation: Sample[]): Map<string, { resource: string; ratio: number }> {
  const most = new Map<string, { resource: string; ratio: number }>();
  for (const s of saturation) {
    const name = nameOf(workloadOf(s.labels));
    const before = most.get(name);
    if (!before || s.value > before.ratio) most.set(name, { resource: s.labels.resource ?? '', ratio: s.value });
  }
  return most;
}

/** join makes rows of what the queries answered; what asks or answers nothing at the moment is left out. */
export function join(rates: Sample[], errors: Sample[], latencies: Record<'p50' | 'p95' | 'p99', Sample[]>, saturation: Sample[]): Service[] {
  const values = (samples: Sample[]) => new Map(samples.map((s) => [serviceKey(s.labels), s.value]));
  const [failing, p50, p95, p99] = [values(errors), values(latencies.p50), values(latencies.p95), values(latencies.p99)];
  const lacks = mostLacking(saturation);
  return rates.filter((s) => s.value > 0).map((s) => {
    const key = serviceKey(s.labels);
    const workload = workloadOf(s.labels);
    const name = nameOf(workload);
    return {
      key, workload, name,
      role: s.labels.role ?? '', protocol: s.labels.protocol ?? '',
      rate: s.value, errors: (failing.get(key) ?? 0) / s.value,
      p50: p50.get(key) ?? NaN, p95: p95.get(key) ?? NaN, p99: p99.get(key) ?? NaN,
      lack: lacks.get(name),
    };
  });
}

export async function services(signal: AbortSignal, window = '5m'): Promise<Service[]> {
  const latency = (q: string) => ask('console_service_latency', { q, window }, signal);
  const [rates, errors, p50, p95, p99, saturation] = await Promise.all([
    ask('console_service_requests', { window }, signal), ask('console_service_errors', { window }, signal),
    latency('0.5'), latency('0.95'), latency('0.99'), ask('console_saturation', {}, signal),
  ]);
  return join(rates, errors, { p50, p95, p99 }, saturation);
}
