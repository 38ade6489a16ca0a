// Package bounds says how much one instance may say of itself, and how much registries deliver. Package discovery checks
// it, and documents it where it applies.
package bounds

// What an instance of package discovery may have. Consul's limits are 64 pairs of meta data, some of which its back end needs
// itself, keys of 128 and values of 512 bytes (agent/structs/structs.go). The others keep a record below 64 KiB and bound the
// harm that one bad writer can do.
const (
	MaxID        = 128    // bytes of an ID
	MaxName      = 63     // bytes of a service or namespace: one DNS label, as it becomes part of a SAN
	MaxTags      = 64     // tags of an instance
	MaxTag       = 128    // bytes of a tag
	MaxMeta      = 56     // pairs of meta data
	MaxMetaKey   = 128    // bytes of a key
	MaxMetaValue = 512    // bytes of a value
	MaxWeight    = 65_535 // as in Consul
	MaxHost      = 253    // bytes of a host name, RFC 1035 section 2.3.4 in text form
)

// What a registry of package discovery accepts and delivers.
const (
	MaxInstances = 16_384    // instances of one service
	MaxServices  = 4096      // names of services in one list: as many as a node calls
	MaxPolicy    = 512 << 10 // bytes of a policy document: Consul's limit for a value
)
