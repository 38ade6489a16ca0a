package consul

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/consul/api"
)

// Connections of one Registry. The agent allows an address 200 (http_max_conns_per_client), which
// all processes of the host share.
const (
	pollers      = 8 // queries under way of watches that do not wait in the agent
	writers      = 8 // heartbeats, registrations and the like
	maxConns     = MaxBlocking + pollers + writers
	dialTimeout  = 5 * time.Second
	idleTimeout  = 90 * time.Second
	maxHeader    = 64 << 10
	smallAnswer  = 1 << 20 // bytes of any other answer than that about a service; a policy fits
	maxErrorText = 4 << 10 // bytes of an answer that is an error
	maxHead      = 512     // bytes of any answer that are looked at for what they are
)

// replyTime bounds an exchange that does not wait in the agent.
const replyTime = 10 * time.Second

// unusedToken is what the api package believes to be the token, so that it looks for none of its own.
const unusedToken = "unused"

// client is the way to the agent. It is safe for concurrent use.
type client struct {
	api       *api.Client
	gate      *gate
	transport *http.Transport
	tokens    *tokenSource
	address   string // for messages
	advice    string // what to do when nothing of use answers there
}

func newClient(cfg Config) (*client, error) {
	end, err := cfg.endpoint()
	if err != nil {
		return nil, err
	}
	tokens, err := newTokenSource(cfg)
	if err != nil {
		return nil, err
	}
	dial := cfg.dial
	if dial == nil {
		dialer := net.Dialer{Timeout: dialTimeout}
		dial = dialer.DialContext
	}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dial,
		TLSHandshakeTimeout:    dialTimeout,
		MaxConnsPerHost:        maxConns,
		MaxIdleConns:           maxConns,
		MaxIdleConnsPerHost:    maxConns,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeader,
	}
	if end.socket {
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial(ctx, "unix", end.address)
		}
	}
	conf := api.DefaultConfig() // reads the environment
	conf.Address, conf.Token, conf.TokenFile = end.address, unusedToken, ""
	if end.scheme != "" {
		conf.Scheme = end.scheme
		// A path is taken off addresses with a scheme only.
		if end.scheme == "https" {
			conf.Address = "https://" + end.address
		}
	} else {
		conf.Address = "http://" + end.address // keeps https if CONSUL_HTTP_SSL asks for it
	}
	conf.HttpClient, err = api.NewHttpClient(transport, conf.TLSConfig)
	if err != nil {
		return nil, fmt.Errorf("%w: TLS: %w", ErrInvalidConfig, err)
	}
	door := &gate{next: transport, tokens: tokens}
	conf.HttpClient.Transport = door
	// A redirect would take the token to wherever it points.
	conf.HttpClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c, err := api.NewClient(conf)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidConfig, err)
	}
	return &client{api: c, gate: door, transport: transport, tokens: tokens, address: end.address, advice: end.advice()}, nil
}

// close drops the idle connections; those in use end with their requests.
func (c *client) close() { c.transport.CloseIdleConnections() }

// errand is what an exchange is for and what bounds it.
type errand struct {
	what  string        // for messages: "register orders-1"
	needs string        // the access rule that allows it
	time  time.Duration // 0 is replyTime
	limit int64         // bytes of the answer; 0 is smallAnswer
	whole bool          // limit counts for answers that are errors as well: they say more than that
}

// call has f make one exchange and explains its error. One that is denied is made again if the
// token file holds another token by now. f is given a context that has to reach the request.
func (c *client) call(ctx context.Context, p errand, f func(ctx context.Context) error) (*exchange, error) {
	x, err := c.once(ctx, p, f)
	if x.status == http.StatusForbidden && c.tokens.renewed(x.token) {
		x, err = c.once(ctx, p, f)
	}
	return x, err
}

func (c *client) once(ctx context.Context, p errand, f func(ctx context.Context) error) (*exchange, error) {
	if p.time == 0 {
		p.time = replyTime
	}
	if p.limit == 0 {
		p.limit = smallAnswer
	}
	bounded, cancel := context.WithTimeout(ctx, p.time)
	defer cancel()
	x := &exchange{limit: p.limit, whole: p.whole}
	err := f(context.WithValue(bounded, exchangeKey{}, x))
	if err == nil && !x.html() {
		return x, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return x, fmt.Errorf("consul: %s: %w", p.what, cause)
	}
	return x, c.explain(p, x, err)
}

// exchange is one request and what is known of its answer.
type exchange struct {
	limit  int64
	whole  bool
	token  secret
	status int // 0 if there was no answer
	header http.Header
	body   *head // nil if there was no answer
}

type exchangeKey struct{}

// gate is the one door of all requests: it puts in the token and bounds the answer.
type gate struct {
	next   http.RoundTripper
	tokens *tokenSource
}

func (g *gate) RoundTrip(req *http.Request) (*http.Response, error) {
	x, ok := req.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return nil, errors.New("consul: request outside of an exchange")
	}
	x.token = g.tokens.get()
	req = req.Clone(req.Context())
	req.Header.Del("X-Consul-Token")
	if x.token != "" {
		req.Header.Set("X-Consul-Token", string(x.token))
	}
	res, err := g.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	most := maxHead
	if res.StatusCode >= http.StatusMultipleChoices {
		most = maxErrorText
	}
	x.status, x.header, x.body = res.StatusCode, res.Header, &head{ReadCloser: res.Body, most: most}
	res.Body = x.body
	switch {
	case res.StatusCode >= http.StatusBadRequest && !x.whole:
		res.Body = &boundedBody{ReadCloser: res.Body, left: maxErrorText, cut: true}
	case res.ContentLength > x.limit:
		return nil, errors.Join(errTooLarge, res.Body.Close())
	default:
		res.Body = &boundedBody{ReadCloser: res.Body, left: x.limit}
	}
	return res, nil
}
