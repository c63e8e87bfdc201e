"""Editors that run anywhere: ONNX, torch.export, a browser."""
