# cnx-animate: animate the person of a picture with the motion of a video.
from animate.nodes import comfy_entrypoint  # noqa: F401
