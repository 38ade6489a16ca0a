package balance

import "github.com/linkmesh/link/internal/hash"

// localShare returns the fraction of its picks that a client keeps in its own zone,
// which has local of the total members. zones is the number of zones. If the zone has
// its part of the members or more, the client keeps all picks. Otherwise the zone gets
// what its size calls for, assuming that each zone has as many clients: local/total of
// all calls, from 1/zones of the clients.
func localShare(local, total, zones int) float64 {
	return min(1, float64(local)*float64(zones)/float64(total))
}

// stays reports whether the pick with r stays in the client's zone, which has local
// members of which out are not available. The others take over their load, up to
// [ZoneSpare] times their own.
func stays(share float64, local, out int, r uint64) bool {
	if out > 0 && local > 0 {
		share *= min(1, ZoneSpare*float64(local-out)/float64(local))
	}
	return float64(hash.SplitMix(r)>>32) < share*(1<<32)
}
