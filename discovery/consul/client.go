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

// Limits on the connections of one Registry. The agent allows 200 connections per client address
// (http_max_conns_per_client), which all processes of the host share.
const (
	// pollers is the number of concurrent queries by watches without a blocking query.
	pollers = 8

	// writers is the number of connections for heartbeats, registrations and the like.
	writers     = 8
	maxConns    = maxBlocking + pollers + writers
	dialTimeout = 5 * time.Second
	idleTimeout = 90 * time.Second
	maxHeader   = 64 << 10

	// smallAnswer is the default limit for an answer in bytes. A policy fits into it.
	smallAnswer = 1 << 20

	// maxErrorText is the number of bytes that are read of an error answer.
	maxErrorText = 4 << 10

	// maxHead is the number of bytes of an answer that are kept to detect its content type.
	maxHead = 512
)

// replyTime bounds an exchange that does not wait in the agent.
const replyTime = 10 * time.Second

// unusedToken is passed to the api package as the token, so that it does not look for one itself.
const unusedToken = "unused"

// client makes requests to the agent. It is safe for concurrent use.
type client struct {
	api       *api.Client
	gate      *gate
	transport *http.Transport
	tokens    *tokenSource

	// address is the agent's address for messages. advice says what to do when no Consul answers
	// there.
	address string
	advice  string
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
	// DefaultConfig reads the environment.
	conf := api.DefaultConfig()
	conf.Address, conf.Token, conf.TokenFile = end.address, unusedToken, ""
	if end.scheme != "" {
		conf.Scheme = end.scheme
		// The api package splits a path only off an address with a scheme.
		if end.scheme == "https" {
			conf.Address = "https://" + end.address
		}
	} else {
		// The api package still uses https if CONSUL_HTTP_SSL asks for it.
		conf.Address = "http://" + end.address
	}
	conf.HttpClient, err = api.NewHttpClient(transport, conf.TLSConfig)
	if err != nil {
		return nil, fmt.Errorf("%w: TLS: %w", errConfig, err)
	}
	door := &gate{next: transport, tokens: tokens}
	conf.HttpClient.Transport = door
	// Following a redirect would send the token to its target.
	conf.HttpClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c, err := api.NewClient(conf)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errConfig, err)
	}
	return &client{api: c, gate: door, transport: transport, tokens: tokens, address: end.address, advice: end.advice()}, nil
}

// close closes the idle connections. Connections in use end with their requests.
func (c *client) close() { c.transport.CloseIdleConnections() }

// errand describes the purpose and the limits of an exchange.
type errand struct {
	// what is the purpose for messages: "register orders-1".
	what string

	// needs is the ACL rule that allows the request.
	needs string

	// time bounds the exchange. 0 is replyTime.
	time time.Duration

	// limit bounds the answer in bytes. 0 is smallAnswer.
	limit int64

	// whole applies limit to error answers too, instead of maxErrorText: they carry data.
	whole bool
}

// call runs f, which makes one exchange, and explains its error. If the exchange was denied and the
// token file holds another token by now, call runs f once more. f must pass its context to the
// request.
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

// exchange is one request and its answer. Without an answer, status is 0, and header and body are
// nil.
type exchange struct {
	limit  int64
	whole  bool
	token  secret
	status int
	header http.Header
	body   *head
}

type exchangeKey struct{}

// gate is the round tripper of all requests. It sets the token and bounds the answer.
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
