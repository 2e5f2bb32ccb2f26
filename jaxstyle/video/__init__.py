"""Video: optical flow, masks of what it explains, and stylized frames that hold still."""
