package agent

import (
	"crypto/rand"

	"github.com/hashicorp/consul/api"
)

// Token is an ACL token. Printing it does not reveal its secret.
type Token struct {
	Accessor string
	Secret   string
}

// String implements fmt.Stringer.
func (t Token) String() string { return "token " + t.Accessor }

// GoString implements fmt.GoStringer.
func (t Token) GoString() string { return t.String() }

// NewToken creates a token with a service identity for each of services: it may register them and
// read every service. If rules is not empty, the token also gets a policy with these rules, which
// are in Consul's language.
func (a *Agent) NewToken(rules string, services ...string) Token {
	a.tb.Helper()
	want := &api.ACLToken{Description: a.tb.Name()}
	for _, s := range services {
		want.ServiceIdentities = append(want.ServiceIdentities, &api.ACLServiceIdentity{ServiceName: s})
	}
	if rules != "" {
		want.Policies = append(want.Policies, a.newPolicy(rules))
	}
	got, _, err := a.client.ACL().TokenCreate(want, nil)
	if err != nil {
		a.tb.Fatalf("making a token: %v", err)
	}
	return Token{Accessor: got.AccessorID, Secret: got.SecretID}
}

// Revoke deletes a token.
func (a *Agent) Revoke(t Token) {
	a.tb.Helper()
	if _, err := a.client.ACL().TokenDelete(t.Accessor, nil); err != nil {
		a.tb.Fatalf("revoking %v: %v", t, err)
	}
}

// Narrow replaces the policies and service identities of a token with rules, in Consul's language.
func (a *Agent) Narrow(t Token, rules string) {
	a.tb.Helper()
	_, _, err := a.client.ACL().TokenUpdate(&api.ACLToken{
		AccessorID: t.Accessor, SecretID: t.Secret, Policies: []*api.ACLTokenPolicyLink{a.newPolicy(rules)},
	}, nil)
	if err != nil {
		a.tb.Fatalf("changing %v: %v", t, err)
	}
}

func (a *Agent) newPolicy(rules string) *api.ACLTokenPolicyLink {
	a.tb.Helper()
	policy, _, err := a.client.ACL().PolicyCreate(&api.ACLPolicy{Name: "test-" + rand.Text(), Rules: rules}, nil)
	if err != nil {
		a.tb.Fatalf("making a policy of %s: %v", rules, err)
	}
	return &api.ACLTokenPolicyLink{ID: policy.ID}
}
