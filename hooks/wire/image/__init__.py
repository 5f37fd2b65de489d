"""The packages that an image would contain, installed on this machine."""
