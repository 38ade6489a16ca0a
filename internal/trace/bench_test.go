package trace

import "testing"

func BenchmarkEnabledWithoutSDK(b *testing.B) {
	tracer := New(nil, nil)
	for b.Loop() {
		if tracer.Enabled() {
			b.Fatal("enabled")
		}
	}
}

func BenchmarkBothSidesOfACallWithoutSDK(b *testing.B) {
	benchmarkCall(b, New(nil, nil))
}

func BenchmarkBothSidesOfACallSampled(b *testing.B) {
	tracer, exporter := record()
	b.Cleanup(exporter.Reset)
	benchmarkCall(b, tracer)
}

func benchmarkCall(b *testing.B, tracer *Tracer) {
	b.Helper()
	ctx := b.Context()
	buffer := make(Carrier, 0, 4)
	b.ReportAllocs()
	for b.Loop() {
		clientCtx, client := tracer.StartClient(ctx, "orders/get")
		header := tracer.Inject(clientCtx, buffer)
		client.Attempt(1, "i-1")
		_, server := tracer.StartServer(ctx, "orders/get", header, "web", Child)
		server.End(0, nil)
		client.End(0, nil)
	}
}
