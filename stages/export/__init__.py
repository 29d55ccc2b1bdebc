"""The stage `export`: ONNX and quantized variants, proved close."""
