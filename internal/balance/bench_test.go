package balance

import (
	"strconv"
	"testing"
)

func BenchmarkPick(b *testing.B) {
	for _, n := range []int{1, 3, 100, 10000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			var table Table[int]
			table.Update(items(n))
			b.ReportAllocs()
			for now := int64(0); b.Loop(); now += 10_000 {
				if _, ok := table.Pick(now, nil); !ok {
					b.Fatal("nothing picked")
				}
			}
		})
	}
}

func BenchmarkPickBeginEnd(b *testing.B) {
	for _, n := range []int{1, 3, 100, 10000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			var table Table[int]
			table.Update(items(n))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for now := int64(0); pb.Next(); now += 10_000 {
					e, _ := table.Pick(now, nil)
					e.Begin()
					e.End(now, now+5_000, false)
				}
			})
		})
	}
}

func BenchmarkPickAfterTwoTries(b *testing.B) {
	var table Table[int]
	table.Update(items(100))
	var tried Tried[int]
	tried.Add(table.Picker().At(1))
	tried.Add(table.Picker().At(2))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := table.Pick(0, &tried); !ok {
			b.Fatal("nothing picked")
		}
	}
}

func BenchmarkUpdateOneOf10000(b *testing.B) {
	var table Table[int]
	set := items(10000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		set[5000].Value = i
		table.Update(set)
	}
}

func BenchmarkPickMeasured(b *testing.B) {
	var table Table[int]
	table.Update(items(100))
	now := int64(0)
	for range WarmSamples {
		now += int64(Resolution)
		for i := range 100 {
			e := table.Picker().At(i)
			e.Begin()
			e.End(now-int64(i+1)*100_000, now, false)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := table.Pick(now, nil); !ok {
			b.Fatal("nothing picked")
		}
	}
}
