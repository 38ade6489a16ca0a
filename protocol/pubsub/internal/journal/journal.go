// Package journal is the engine of publish/subscribe: one log, many cursors.
//
// # Overview
//
// A [Log] holds the messages of a publisher, in order. [Log.Append] encodes a message
// once and gives it the next number. Its bytes stay in a ring that is bounded in bytes
// and age, and are the same for every subscriber. A [Cursor] is the place of one
// subscriber. It has a queue of numbers, 8 bytes for each message that waits for the
// subscriber, and [Cursor.Fill] copies the records with these numbers into a frame.
// Where messages are missing, it writes a gap in their place, with a count and a reason:
// overflow, expiry, conflation, retention, restart, drain, loss. A subscriber that falls behind costs
// its queue and nothing more; messages that have left the ring are told as a gap.
//
// A cursor that starts in the past, that resumes, or that is slow and must not lose
// anything (the classes [Reliable] and [AtLeastOnce]) reads the ring until it has come to
// its end. From there on, publishers push to its queue. History joins live messages
// without a hole or a duplicate, because both are places in one log.
//
// The package has no goroutines, does no I/O and reads no clock: the caller passes the
// time and writes the frames.
//
// # Guarantees
//
// The messages that a subscriber receives and the gaps that it is told of add up to what
// was published to it, for every history of slow reading, disconnecting, resuming, expiry
// and restart. A frame that Fill has made is either read whole by the [Reader] of the
// other side, or the subscriber resumes from the [Position] of its [Tracker].
//
//   - Messages are in the order of their numbers in each of three lanes of priority, which
//     take turns 8:4:1. A publisher that never sets a priority has one lane. Latest orders
//     each topic and key only, and has no lanes.
//   - BestEffort and Reliable never deliver a message twice. Latest may do so after a
//     resume, and the Tracker filters the duplicate.
//   - AtLeastOnce delivers a message until it is acked, or becomes a dead letter, or is
//     told in a gap before its first delivery. A gap may be told twice after a resume. A
//     message that is delivered again comes after others of its key that followed it. A
//     subscriber that needs them in order uses a window of one.
//   - A message of a group goes to one member at a time. A key stays with its member
//     while that is there, except that a new member takes its share of the keys that have
//     no message in flight. Messages that a member has not taken or, for AtLeastOnce, not
//     acked go to the other members when it leaves.
//
// # Records
//
// A frame holds whole records, one after another. Numbers are varints (RFC 9000,
// section 16) in any of the lengths that hold them, except where marked as a byte.
//
//	record    kind:byte length body             a reader skips kinds that it does not know
//	TOPIC     1  topic name                     from here on, topic stands for name
//	MSG       2  flags:byte seq topic time [priority:byte] [ttl] [feed] [key] [trace] [headers] payload
//	GAP       3  lane:byte reason:byte from to count
//	MARK      4  kind:byte seq
//	DELIVERY  5  attempt                        about the next MSG; absent before a first delivery
//	CLOCK     6  time                           from here on, times of messages count from time
//
// topic is below [MaxTopics]; a later TOPIC may give the number another name. seq counts
// all messages of the publisher from 1 in each epoch. time is in microseconds by the
// publisher's clock. In a CLOCK it counts from 1970. In a MSG it counts from the time of
// the last CLOCK of the stream, or from 1970 before the first CLOCK. A CLOCK may be earlier
// than the one before it. ttl is in microseconds from the time of the message. flags says
// which optional fields are present: 1 key, 2 ttl, 4 headers, 8 trace, 16 priority, 32 feed;
// the other bits are zero. key is a length and that many bytes. trace and headers are a
// number of pairs and, for each pair, a length, the name, a length, the value. payload is
// the rest of the body.
//
// GAP says that count messages of the lane (0 high, 1 normal, 2 low) with numbers in
// from … to do not come; a count of 0 is unknown. reason is 1 overflow, 2 ttl,
// 3 conflated, 4 retention, 5 restart, 6 drained, 7 lost. In a restart from and to are 0, and it is the first
// record of its stream. The ranges of adjacent gaps may overlap, and a range may span
// messages that are not the subscriber's.
//
// MARK says that all messages up to and including seq were delivered or told before it.
// Kind 1 comes once, at the end of what was published before the subscription; kind 2 may
// come at any time.
//
// # Concurrency
//
// All methods of Log and Cursor are safe for concurrent use, except that only one
// goroutine at a time may call Fill of a cursor. Publishers exclude each other for the
// time that it takes to encode a short message and to push its number to the cursors that
// match. No lock is held while a message of 16 KiB or more is copied, nor between calls. A
// Reader or Tracker belongs to one goroutine.
package journal
