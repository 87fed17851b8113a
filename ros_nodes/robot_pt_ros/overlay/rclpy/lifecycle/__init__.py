"""Managed nodes."""

from rclpy.lifecycle.managed_entity import ManagedEntity as ManagedEntity
from rclpy.lifecycle.managed_entity import SimpleManagedEntity as SimpleManagedEntity
from rclpy.lifecycle.managed_entity import TransitionCallbackReturn as TransitionCallbackReturn
from rclpy.lifecycle.node import LifecycleNode as LifecycleNode
from rclpy.lifecycle.node import LifecycleNodeMixin as LifecycleNodeMixin
from rclpy.lifecycle.node import LifecycleState as LifecycleState
from rclpy.lifecycle.publisher import LifecyclePublisher as LifecyclePublisher

Node = LifecycleNode
NodeMixin = LifecycleNodeMixin
State = LifecycleState
Publisher = LifecyclePublisher
