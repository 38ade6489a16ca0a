package main

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// grpcPeer is gRPC-Go as shipped: mutual TLS, HTTP/2, one connection, protobuf.
// Flow control is left to gRPC's own estimator.
type grpcPeer struct{}

const grpcMethod = "/bench.Echo/Echo"

func (grpcPeer) name() string { return "grpc" }

func (grpcPeer) serve(ctx context.Context, m material, ready func(string)) error {
	conf, err := m.tls(serverSide, "h2")
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(conf)))
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Echo", Handler: grpcEcho}},
	}, nil)
	defer context.AfterFunc(ctx, s.Stop)()
	ready(l.Addr().String())
	// Serve returns nil after Stop.
	return s.Serve(l)
}

// grpcEcho is what protoc would generate for Echo(BytesValue) returns (BytesValue).
func grpcEcho(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // the order of grpc.MethodHandler
	in := new(wrapperspb.BytesValue)
	if err := decode(in); err != nil {
		return nil, err
	}
	return in, nil
}

func (grpcPeer) dial(_ context.Context, m material, addr string) (caller, error) {
	conf, err := m.tls(clientSide, "h2")
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	if err != nil {
		return nil, err
	}
	return grpcCaller{conn}, nil
}

type grpcCaller struct{ conn *grpc.ClientConn }

func (c grpcCaller) close() error { return c.conn.Close() }

func (c grpcCaller) call(ctx context.Context, payload []byte) ([]byte, error) {
	md := callMetadata()
	ctx = metadata.AppendToOutgoingContext(ctx, md[0][0], md[0][1], md[1][0], md[1][1])
	out := new(wrapperspb.BytesValue)
	err := c.conn.Invoke(ctx, grpcMethod, &wrapperspb.BytesValue{Value: payload}, out)
	return out.GetValue(), err
}
