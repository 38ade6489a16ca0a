package wire_test

import (
	"github.com/linkmesh/link/internal/wire"
)

// This file holds the scenes of the golden transcripts. Stream IDs are QUIC's: 0, 4,
// 8, … are bidirectional streams of the client, 2 is its first unidirectional
// stream, and 3 is the server's (RFC 9000, section 2.1).

const (
	traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	// orderQuery and order are {"id": "o-1"} and {"id": "o-1", "total": 1250} in CBOR.
	orderQuery = "\xa1bidco-1"
	order      = "\xa2bidco-1etotal\x19\x04\xe2"
	// first to fourth are versions of a task or event in the scenes of patterns: 1 to 4.
	first, second, third, fourth = "\x01", "\x02", "\x03", "\x04"
)

func transcripts() []transcript {
	return []transcript{
		setupScene(), unaryScene(), byNameScene(), errorScene(), refusedScene(), largeScene(),
		creditScene(), cancelScene(), drainScene(), greaseScene(), pingScene(), tagsScene(),
	}
}

func setupScene() transcript {
	return transcript{
		"setup", "After the handshake: SETUP from both sides at once, then the server's routes, more of them later.",
		[]section{
			{"client stream 2", []item{typ(wire.StreamControl), frame(wire.AppendSetup(nil, &wire.Setup{
				Version: 1, MaxMessage: 4 << 20, Codecs: []uint64{0},
			}))}},
			{"server stream 3", []item{
				typ(wire.StreamControl),
				frame(wire.AppendSetup(nil, &wire.Setup{
					Version: 1, Instance: "orders-1", Tags: []string{"v2", "zone=eu-1a"},
					MaxMessage: 4 << 20, Codecs: []uint64{0, 1},
				})),
				frame(wire.AppendRoutes(nil, &wire.Routes{Routes: []wire.RouteInfo{{Name: "get", Level: 2}, {Name: "place"}}})),
			}},
			{"server stream 3", []item{
				frame(wire.AppendRoutes(nil, &wire.Routes{First: 2, Routes: []wire.RouteInfo{{Kind: 1, Name: "placed"}}})),
			}},
		},
	}
}

func unaryScene() transcript {
	return transcript{
		"unary", "Two unary calls, one after another, on a leased stream. The client retires the stream while no call is in flight.",
		[]section{
			{"client stream 0", []item{
				typ(wire.StreamCalls),
				frame(wire.AppendHeaders(nil, &wire.Headers{
					RouteID: 0, Timeout: 1_500_000, Trace: []wire.Pair{{"traceparent", traceparent}}, Metadata: []wire.Pair{{"tenant", "t-1"}},
				})),
				data(orderQuery),
			}},
			{"server stream 0", []item{data(order), frame(wire.AppendStatus(nil, &wire.Status{}, 0))}},
			{"client stream 0", []item{
				frame(wire.AppendHeaders(nil, &wire.Headers{RouteID: 1, Timeout: 250_000, Idempotency: []byte("o-1"), Attempt: 1})),
				data(order),
			}},
			{"server stream 0", []item{frame(wire.AppendStatus(nil, &wire.Status{Metadata: []wire.Pair{{"cost", "3"}}}, wire.FlagOdd))}},
			{"client stream 0", []item{event("FIN")}},
			{"server stream 0", []item{event("FIN")}},
		},
	}
}

func byNameScene() transcript {
	return transcript{
		"by-name", "A unary call by name, because the server announced no number for the route, with an empty reply in codec 1.",
		[]section{
			{"client stream 0", []item{
				typ(wire.StreamCalls),
				frame(wire.AppendHeaders(nil, &wire.Headers{Route: "cancel", Timeout: 10_000_000, Codec: 1})),
				data(`"o-1"`),
			}},
			{"server stream 0", []item{data(""), frame(wire.AppendStatus(nil, &wire.Status{}, 0))}},
		},
	}
}

func errorScene() transcript {
	return transcript{
		"error", "A unary call that ends with an error of the handler, with details. The stream may carry the next call.",
		[]section{
			{"client stream 0", []item{
				typ(wire.StreamCalls),
				frame(wire.AppendHeaders(nil, &wire.Headers{RouteID: 1, Timeout: 1_000_000})),
				data(order),
			}},
			{"server stream 0", []item{frame(wire.AppendStatus(nil, &wire.Status{
				Code: 8, Message: "quota of tenant t-1 is used up", RetryAfter: 1500,
				Details:  []wire.Detail{{"orders.QuotaExceeded", []byte("\xa1elimit\x18\x64")}},
				Metadata: []wire.Pair{{"tenant", "t-1"}}, ErrorID: "01JD3W6S",
			}, 0))}},
		},
	}
}

func refusedScene() transcript {
	return transcript{
		"refused", "A unary call that the server refuses, because it drains: no handler saw it, so it is sent elsewhere. The stream ends.",
		[]section{
			{"client stream 4", []item{
				typ(wire.StreamCalls),
				frame(wire.AppendHeaders(nil, &wire.Headers{RouteID: 1, Timeout: 1_000_000})),
				data(order),
			}},
			{"server stream 4", []item{
				frame(wire.AppendStatus(nil, &wire.Status{Code: 14, Message: "node is draining", Refused: true}, wire.FlagLast)),
				event("FIN"),
			}},
			{"client stream 4", []item{event("FIN")}},
		},
	}
}

func largeScene() transcript {
	return transcript{
		"own-stream", "A unary call on a stream of its own, as requests of more than 64 KiB take; the messages are cut here.",
		[]section{
			{"client stream 0", []item{
				typ(wire.StreamCall),
				frame(wire.AppendHeaders(nil, &wire.Headers{RouteID: 1, Timeout: 30_000_000})),
				data(order),
				event("FIN"),
			}},
			{"server stream 0", []item{
				data(order),
				frame(wire.AppendStatus(nil, &wire.Status{}, wire.FlagLast)),
				event("FIN"),
			}},
		},
	}
}

func creditScene() transcript {
	return transcript{
		"credit", "A stream of a pattern. The opener grants 2 messages in HEADERS, so the third waits for CREDIT; the frame without the flag needs none. It goes on to grant after END, and sends FIN when the server has ended.",
		[]section{
			{"client stream 0", []item{
				typ(wire.StreamCall),
				frame(wire.AppendHeaders(nil, &wire.Headers{
					Route: "placed", RouteKind: 1, Timeout: 5_000_000, Credit: wire.Credit{Messages: 2, Bytes: 64 << 10},
				})),
			}},
			{"server stream 0", []item{
				plain(0x40, wire.FlagCritical, "\xa0"),
				plain(0x41, wire.FlagCredited, first),
				plain(0x41, wire.FlagCredited, second),
			}},
			{"client stream 0", []item{frame(wire.AppendCredit(nil, wire.Credit{Messages: 1, Bytes: 1}))}},
			{"server stream 0", []item{plain(0x41, wire.FlagCredited, third)}},
			{"server stream 0", []item{frame(wire.AppendCredit(nil, wire.Credit{Messages: 64, Bytes: 1 << 20}))}},
			{"client stream 0", []item{plain(0x42, wire.FlagCredited, third), frame(wire.AppendEnd(nil))}},
			{"client stream 0", []item{frame(wire.AppendCredit(nil, wire.Credit{Messages: 1, Bytes: 1}))}},
			{"server stream 0", []item{plain(0x41, wire.FlagCredited, fourth)}},
			{"server stream 0", []item{frame(wire.AppendStatus(nil, &wire.Status{}, wire.FlagLast)), event("FIN")}},
			{"client stream 0", []item{event("FIN")}},
		},
	}
}

func cancelScene() transcript {
	return transcript{
		"cancel", "A unary call whose caller gives up before the reply. The stream is not used again.",
		[]section{
			{"client stream 0", []item{
				typ(wire.StreamCalls),
				frame(wire.AppendHeaders(nil, &wire.Headers{RouteID: 0, Timeout: 1_500_000})),
				data(orderQuery),
			}},
			{"client stream 0", []item{code("STOP_SENDING", wire.CodeCanceled), code("RESET_STREAM", wire.CodeCanceled)}},
			{"server stream 0", []item{code("RESET_STREAM", wire.CodeCanceled)}},
		},
	}
}

func drainScene() transcript {
	health := frame(wire.AppendHealth(nil, &wire.Health{State: wire.StateDraining}))
	return transcript{
		"drain", "A server drains: go elsewhere; then no call on a stream after 44; then the end. SETUP went before.",
		[]section{
			{"server stream 3", []item{
				typ(wire.StreamControl),
				frame(wire.AppendSetup(nil, &wire.Setup{Version: 1, MaxMessage: 4 << 20})),
			}},
			{"server stream 3", []item{health, frame(wire.AppendGoAway(nil, &wire.GoAway{
				LastStream: wire.MaxVarint, Reason: "node is draining",
			}))}},
			{"server stream 3", []item{health, frame(wire.AppendGoAway(nil, &wire.GoAway{
				LastStream: 44, Reason: "node is draining",
			}))}},
			{"server stream 3", []item{code("CONNECTION_CLOSE", wire.CodeGoingAway)}},
		},
	}
}

func greaseScene() transcript {
	return transcript{
		"grease", "What a receiver ignores: a stream of a type that it does not know, and a frame of a kind that it does not know without the critical flag.",
		[]section{
			{"client stream 6", []item{typ(0x9d), plain(0xbc, 0, "\xf6")}},
			{"server stream 6", []item{code("STOP_SENDING", wire.CodeIgnored)}},
			{"client stream 0", []item{
				typ(wire.StreamCalls),
				frame(wire.AppendHeaders(nil, &wire.Headers{RouteID: 0, Timeout: 1_500_000})),
				plain(0x1f*1000+0x21, 0, "\xff\xff\xff"),
				data(orderQuery),
			}},
			{"server stream 0", []item{data(order), plain(0x9d, 0, ""), frame(wire.AppendStatus(nil, &wire.Status{}, 0))}},
		},
	}
}

func tagsScene() transcript {
	return transcript{
		"tags", "A server's tags change: it lost its database and says so.",
		[]section{
			{"server stream 3", []item{
				typ(wire.StreamControl),
				frame(wire.AppendSetup(nil, &wire.Setup{Version: 1, MaxMessage: 4 << 20, Tags: []string{"v2", "db"}})),
			}},
			{"server stream 3", []item{frame(wire.AppendTags(nil, &wire.Tags{Tags: []string{"v2"}}))}},
		},
	}
}

func pingScene() transcript {
	return transcript{
		"ping", "A probe of the peer. SETUP went before, on both streams.",
		[]section{
			{"client stream 2", []item{
				typ(wire.StreamControl),
				frame(wire.AppendSetup(nil, &wire.Setup{Version: 1, MaxMessage: 4 << 20})),
				frame(wire.AppendPing(nil, wire.KindPing, 1_000_000)),
			}},
			{"server stream 3", []item{
				typ(wire.StreamControl),
				frame(wire.AppendSetup(nil, &wire.Setup{Version: 1, MaxMessage: 4 << 20})),
				frame(wire.AppendPing(nil, wire.KindPong, 1_000_000)),
			}},
		},
	}
}
