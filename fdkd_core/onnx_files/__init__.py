"""ONNX files of unknown origin: checked before anything runs them, then run by onnxruntime. No torch."""
