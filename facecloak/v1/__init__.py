"""Protobuf and gRPC code of package facecloak.v1, generated from protos/ when the package is built (see setup.py).

The only place under `facecloak` where grpc is imported; only the services and facecloak_rpc use it.
"""
