package pubsub

import (
	"errors"
	"reflect"
	"strings"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// Topic is a topic with its type. Topics are comparable values. Messages are values of T
// and are copied: use a pointer for a type that must not be copied.
type Topic[T any] struct {
	service string // "" for a shared topic
	name    string
	realm   subject.Realm
}

// NewTopic declares a topic of a service. A bad name is reported by the first
// NewPublisher or Subscribe that uses it. A name with "*" or ">" is a pattern, which can
// only be subscribed to.
func NewTopic[T any](service, name string) Topic[T] { return Topic[T]{service, name, subject.Realm{}} }

// NewSharedTopic declares a topic that any service may publish to. Its publishers
// announce the tag "topic:<namespace>", the namespace being the first token of the
// name, and subscribers find publishers of all services by that tag. In a pattern the
// first token must not be a wildcard.
//
// Publishers are authenticated as for any topic; see [Message.Peer]. [Authorize] decides
// whose messages a node takes.
func NewSharedTopic[T any](name string) Topic[T] {
	return Topic[T]{"", name, subject.Realm{Kind: subject.Shared}}
}

// BroadcastTopic returns the topic of the messages of type T that instances of a service send
// with [Broadcast]. The type must have the same name on both sides.
func BroadcastTopic[T any](service string) Topic[T] {
	return Topic[T]{service, reflect.TypeFor[T]().Name(), subject.Realm{Kind: subject.Broadcast}}
}

// DeadLetters returns the topic of the messages that publishers of t have given up because
// an AtLeastOnce subscription failed to handle them too often, or because they expired after
// a failed delivery. [Message.DeadLetter] returns why and how often. Dead letters stay in
// the publisher's log as other messages do.
func DeadLetters[T any](t Topic[T]) Topic[T] {
	t.realm.Dead = true
	return t
}

// Service returns the service whose instances publish, "" if any may.
func (t Topic[T]) Service() string { return t.service }

// Name returns the name within the service, or of a shared topic.
func (t Topic[T]) Name() string { return t.name }

// String returns "service/name", for a shared topic "topic:name".
func (t Topic[T]) String() string {
	text := t.service + "/" + t.name
	switch t.realm.Kind {
	case subject.Shared:
		text = tagPrefix + t.name
	case subject.Broadcast:
		text = t.service + "/broadcast " + t.name
	case subject.Own:
	}
	if t.realm.Dead {
		text = "dead letters of " + text
	}
	return text
}

// tagPrefix precedes the namespace in the tag of a node that publishes to shared topics.
const tagPrefix = "topic:"

// tag returns the tag that publishers of a shared topic announce.
func (t Topic[T]) tag() string {
	namespace, _, _ := strings.Cut(t.name, ".")
	return tagPrefix + namespace
}

// path returns the name of the topic in a publisher's log.
func (t Topic[T]) path() string { return t.realm.Prefix() + t.name }

// route returns the route by which the topology decides. It has the topic's own name.
func (t Topic[T]) route(service string) link.Route {
	return link.Route{Service: service, Name: strings.ReplaceAll(t.name, ">", "*"), Kind: link.KindTopic}
}

func (t Topic[T]) checkName() error {
	if t.realm.Dead {
		return link.Errorf(link.InvalidArgument, "topic %s: dead letters are published by link alone; subscribe to them", t)
	}
	return t.check(subject.Valid)
}

func (t Topic[T]) checkPattern() error {
	if t.realm.Kind == subject.Shared && strings.ContainsAny(t.tag(), "*>") {
		return link.Errorf(link.InvalidArgument, "topic %s: the first token of a shared topic cannot be a wildcard, for publishers are found by it", t)
	}
	return t.check(subject.ValidPattern)
}

func (t Topic[T]) check(valid func(string) error) error {
	if t.realm.Kind == subject.Broadcast && t.name == "" {
		return link.Errorf(link.InvalidArgument, "a broadcast of %v: the type has no name; declare one that both sides share", reflect.TypeFor[T]())
	}
	err := valid(t.name)
	if err == nil && t.realm != (subject.Realm{}) {
		if err = valid(t.path()); errors.Is(err, subject.ErrReserved) {
			err = nil
		}
	}
	if err != nil {
		return link.Errorf(link.InvalidArgument, "topic %s: %w", t, err)
	}
	return nil
}

// Covers reports whether pattern a matches every topic that pattern b matches. Use it to
// check a rule such as "may subscribe to orders.>".
func Covers(a, b string) bool { return subject.Covers(a, b) }
