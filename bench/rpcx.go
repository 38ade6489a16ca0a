package main

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"time"

	"github.com/smallnest/rpcx/client"
	"github.com/smallnest/rpcx/log"
	"github.com/smallnest/rpcx/protocol"
	"github.com/smallnest/rpcx/server"
	"github.com/smallnest/rpcx/share"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// rpcxPeer is rpcx as shipped: mutual TLS over TCP, one connection, protobuf.
type rpcxPeer struct{}

const rpcxService = "Echo"

func (rpcxPeer) name() string { return "rpcx" }

// quietRPCX keeps rpcx from logging every connection that ends.
func quietRPCX() {
	log.SetDummyLogger() //nolint:forbidigo // rpcx's own package log
}

// rpcxEcho is a service of the form that rpcx registers by reflection.
type rpcxEcho struct{}

// Echo copies in to out.
func (rpcxEcho) Echo(_ context.Context, in, out *wrapperspb.BytesValue) error { //nolint:unparam // the shape rpcx asks for
	out.Value = in.GetValue()
	return nil
}

func (rpcxPeer) serve(ctx context.Context, m material, ready func(string)) error {
	quietRPCX()
	conf, err := m.tls(serverSide)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := server.NewServer()
	if err := s.RegisterName(rpcxService, rpcxEcho{}, ""); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	ready(l.Addr().String())
	return endedBy(ctx, s.ServeListener("tcp", tls.NewListener(l, conf)))
}

func (rpcxPeer) dial(_ context.Context, m material, addr string) (caller, error) {
	quietRPCX()
	conf, err := m.tls(clientSide)
	if err != nil {
		return nil, err
	}
	option := client.DefaultOption
	option.TLSConfig = conf
	option.ConnectTimeout = 5 * time.Second
	option.SerializeType = protocol.ProtoBuffer
	option.CompressType = protocol.None
	c := client.NewClient(option)
	if err := c.Connect("tcp", addr); err != nil {
		return nil, err
	}
	return rpcxCaller{c}, nil
}

type rpcxCaller struct{ client *client.Client }

func (c rpcxCaller) close() error { return c.client.Close() }

func (c rpcxCaller) call(ctx context.Context, payload []byte) ([]byte, error) {
	md := callMetadata()
	pairs := make(map[string]string, len(md)+1)
	for _, pair := range md {
		pairs[pair[0]] = pair[1]
	}
	// Send the deadline in the same way as rpcx's XClient.
	if deadline, ok := ctx.Deadline(); ok {
		pairs[share.ServerTimeout] = strconv.FormatInt(time.Until(deadline).Milliseconds(), 10)
	}
	ctx = context.WithValue(ctx, share.ReqMetaDataKey, pairs)
	out := new(wrapperspb.BytesValue)
	err := c.client.Call(ctx, rpcxService, "Echo", &wrapperspb.BytesValue{Value: payload}, out)
	return out.GetValue(), err
}
